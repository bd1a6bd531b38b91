import numpy as np
import pytest
from sklearn.datasets import load_digits

from gen_jax.data.digits import Digits
from gen_jax.errors import InputError


def test_the_split_is_a_stratified_partition():
  source = Digits()
  train, test = (source.split(name)[np.arange(len(source.split(name)))] for name in ("train", "test"))
  rows = [bytes(x) + bytes([y]) for part in (train, test) for x, y in zip(part["x"], part["label"], strict=True)]
  theirs = load_digits()
  whole = [bytes(x.astype(np.uint8)) + bytes([y]) for x, y in zip(theirs.data, theirs.target, strict=True)]
  assert sorted(rows) == sorted(whole)
  share = np.bincount(test["label"]) / np.bincount(theirs.target)
  assert np.abs(share - 0.2).max() < 0.005


def test_rows_fit_the_spec():
  source = Digits()
  rows = source.split("train")[np.array([3, 1, 3])]
  assert rows["x"].shape == (3, *source.spec.shape)
  assert rows["x"].dtype == np.uint8
  assert source.split("train").columns["x"].max() == source.spec.levels - 1
  assert source.spec.classes == len(np.unique(source.split("train").columns["label"]))


def test_an_unknown_split_is_refused():
  with pytest.raises(InputError, match="did you mean 'test'"):
    Digits().split("tests")
