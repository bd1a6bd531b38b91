import jax
import numpy as np
import pytest

from gen_jax.data.base import Arrays, label, pick
from gen_jax.data.digit_scenes import DigitScenes
from gen_jax.data.digits import Digits
from gen_jax.data.image_folder import ImageFolder
from gen_jax.data.synthetic import Ring
from gen_jax.data.tfds import KMNIST, MNIST
from gen_jax.errors import InputError


def test_rows_come_in_any_order_and_more_than_once():
  split = Arrays(x=np.arange(10)[:, None] * 2, label=np.arange(10))
  rows = split[np.array([7, 0, 7])]
  assert len(split) == 10
  assert rows["x"].tolist() == [[14], [0], [14]]
  assert rows["label"].tolist() == [7, 0, 7]


def test_big_endian_columns_go_to_a_device():
  split = Arrays(x=np.arange(5, dtype=">i4"), y=np.arange(5, dtype=">f4"))
  for v in split[np.arange(5)].values():
    assert v.dtype.isnative
    assert jax.device_put(v).tolist() == [0, 1, 2, 3, 4]


def test_columns_of_different_lengths_are_refused():
  with pytest.raises(ValueError, match="different lengths"):
    Arrays(x=np.zeros(3), label=np.zeros(4))


def test_a_label_has_what_changes_the_test_examples():
  assert label(Ring()) == "Ring" == label(Ring(num_train=7, num_test=9))
  assert label(Ring(modes=6, std=0.2)) == "Ring(std=0.2, modes=6)"
  assert label(Digits(binarize="dynamic", flip=True)) == "Digits(binarize='dynamic')"
  assert label(MNIST(manual_dir="/some/where")) == "MNIST"
  assert label(ImageFolder(path="/some/where/cats")) == "ImageFolder(path='cats')"
  assert label(DigitScenes(digits=MNIST(data_dir="/x"), colour=True)) == "DigitScenes(colour=True)"
  assert label(DigitScenes(embeddings="/some/where/e.npz")) == "DigitScenes(embeddings='e.npz')"
  assert label(DigitScenes(digits=KMNIST())) == "DigitScenes(digits=KMNIST)"


def test_an_unknown_split_names_the_near_miss():
  assert pick({"train": 1, "test": 2}, "test") == 2
  with pytest.raises(InputError, match="did you mean 'train'"):
    pick({"train": 1, "test": 2}, "trian")
