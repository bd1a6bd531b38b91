"""The classifiers that ship with the project are what is written beside them."""

import json
import pathlib

import numpy as np
import pytest

from gen_jax.data import idx
from gen_jax.data.digits import Digits
from gen_jax.data.image_folder import ImageFolder
from gen_jax.errors import InputError
from gen_jax.metrics import features
from gen_jax.metrics.classes import classes

WEIGHTS = pathlib.Path(features.__file__).parent / "weights"
NAMES = ("digits", "mnist", "cifar10")


def test_digits():
  split = Digits().split("test")
  rows = split[np.arange(len(split))]
  extractor = features.digits()
  embedded, p = extractor.embed(rows["x"].astype(np.float32) / 8.0 - 1.0)
  assert embedded.shape == (len(split), 64) and p.shape == (len(split), 10)
  assert (p.argmax(1) == rows["label"]).mean() == pytest.approx(extractor.about["test_accuracy"], abs=1e-9)
  assert classes(p).confident == pytest.approx(extractor.about["test_confident"], abs=1e-9)
  assert extractor.about["test_accuracy"] >= 0.98


def test_mnist(real_data):
  x = idx.read(real_data / "mnist" / "t10k-images-idx3-ubyte.gz")[..., None]
  label = idx.read(real_data / "mnist" / "t10k-labels-idx1-ubyte.gz")
  extractor = features.mnist()
  embedded, p = extractor.embed(x.astype(np.float32) / 127.5 - 1.0)
  assert embedded.shape == (10_000, 64)
  assert (p.argmax(1) == label).mean() == pytest.approx(extractor.about["test_accuracy"], abs=2e-4)
  assert extractor.about["test_accuracy"] >= 0.992
  assert (p.max(1) >= 0.9).mean() >= 0.97


def test_cifar10(cifar10_test):
  split = ImageFolder(path=str(cifar10_test)).split("test")
  rows = split[np.arange(len(split))]
  extractor = features.cifar10()
  _, p = extractor.embed(rows["x"].astype(np.float32) / 127.5 - 1.0)
  assert (p.argmax(1) == rows["label"]).mean() == pytest.approx(extractor.about["test_accuracy"], abs=1e-3)
  assert extractor.about["test_accuracy"] >= 0.7


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_beside_the_weights(name):
  about = json.loads((WEIGHTS / f"{name}.json").read_text())
  assert (WEIGHTS / f"{name}.npz").stat().st_size < 1_000_000
  assert {"seed", "command", "test_accuracy", "test_confident", "test_calibration_error"} <= set(about)
  assert about["test_calibration_error"] < (0.05 if name == "cifar10" else 0.03)
  assert about["confident_on_noise"] < 0.01 and about["confident_on_shuffled_pixels"] < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_features_of_an_example_do_not_depend_on_the_others(name):
  extractor = getattr(features, name)()
  x = np.random.default_rng(0).uniform(-1, 1, (503, *extractor.about["shape"])).astype(np.float32)
  together, alone = extractor.embed(x), extractor.embed(x[499:])
  for a, b in zip(together, alone, strict=True):
    np.testing.assert_allclose(a[499:], b, atol=1e-5)


def test_other_shapes_are_refused():
  with pytest.raises(InputError, match=r"features\.identity"):
    features.digits().embed(np.zeros((2, 28, 28, 1), np.float32))


def test_identity():
  x = np.arange(24, dtype=np.float64).reshape(2, 3, 2, 2)
  embedded, p = features.identity().embed(x)
  assert embedded.tolist() == [list(range(12)), list(range(12, 24))] and p is None


def test_what_is_saved_is_what_is_loaded(tmp_path, monkeypatch):
  trained = features.digits()
  with np.load(WEIGHTS / "digits.npz", allow_pickle=False) as file:
    weights = dict(file)
  monkeypatch.setattr(features, "_WEIGHTS", tmp_path)
  features.save("copy", weights, {**trained.about, "seed": 7})
  copy = features._trained("copy")
  x = np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, 1)).astype(np.float32)
  np.testing.assert_array_equal(copy.embed(x)[1], trained.embed(x)[1])
  assert copy.name == "copy" and copy.about["seed"] == 7
