"""Handwritten digits that come with scikit-learn: real images and nothing to download."""

import dataclasses
import functools
from importlib import metadata

import numpy as np

from gen_jax.data.base import Arrays, Split, SplitName, pick
from gen_jax.data.images import Images

_FILE = "sklearn/datasets/data/digits.csv.gz"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Digits(Images):
  """1,797 images of 8x8x1 in 17 grey levels, ten classes (the test part of UCI's "Optical Recognition" set).

  Every fifth image of each class, in the order of the file, is for testing: a split that is stratified, and the same
  on every machine and under every version of every library.
  """

  shape = (8, 8, 1)
  classes = 10
  levels = 17

  def split(self, name: SplitName) -> Split:
    """1,442 rows for training, 355 for testing."""
    return pick(self._splits, name)

  @functools.cached_property
  def _splits(self) -> dict[str, Split]:
    # the file alone: importing scikit-learn, for its `load_digits`, takes half a second
    rows = np.loadtxt(metadata.distribution("scikit-learn").locate_file(_FILE), np.int32, delimiter=",")
    x, label = rows[:, :-1].reshape(-1, *self.shape).astype(np.uint8), rows[:, -1]
    rank = np.zeros_like(label)  # of each image within its class
    for c in range(self.classes):
      rank[label == c] = np.arange((label == c).sum())
    test = rank % 5 == 4
    return {"train": Arrays(x=x[~test], label=label[~test]), "test": Arrays(x=x[test], label=label[test])}
