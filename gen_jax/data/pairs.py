"""Two data sets as one, for models that make samples of the first out of samples of the second."""

import dataclasses
from typing import Any

import jax
import numpy as np

from gen_jax.data.base import Source, Split, SplitName
from gen_jax.errors import InputError
from gen_jax.resolve import part
from gen_jax.types import Array, Batch, Entry, Key, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
  """The data, and beside every example of them an entry `start`, any example of another data set.

  The two have nothing to do with each other: in training the rows of a batch are joined anew every time.

  Attributes:
    data: what `x`, and whatever else a batch has, comes from.
    start: what `start` comes from: the `x` of another source.

  Raises:
    InputError: examples of different shapes.
  """

  data: Source = part("data", "synthetic.EightGaussians")
  start: Source = part("data", "synthetic.TwoMoons")

  def __post_init__(self):
    shapes = self.data.spec.shape, self.start.spec.shape
    if shapes[0] != shapes[1]:
      raise InputError(f"start: its examples have the shape {shapes[1]}, those of the data {shapes[0]}")

  @property
  def spec(self) -> Spec:
    of = self.data.spec
    return dataclasses.replace(of, extra=(*of.extra, Entry(name="start", kind=of.kind, shape=of.shape)))

  def split(self, name: SplitName) -> Split:
    """Rows of one split: to train on, as many as the larger set has; to score with, as many as the data have."""
    data, start = self.data.split(name), self.start.split(name)
    return _Joined(data, start, max(len(data), len(start)) if name == "train" else len(data))

  def prepare(self, key: Key, raw: Batch, training: bool) -> Batch:
    """Both as their sources prepare them."""
    key_data, key_start, key_order = jax.random.split(key, 3)
    raw = dict(raw)
    start = self.start.prepare(key_start, {"x": raw.pop("start")}, training)["x"]
    start = jax.random.permutation(key_order, start) if training else start
    return {**self.data.prepare(key_data, raw, training), "start": start}


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownPair(Pair):
  """A pair whose data have a known density."""

  def log_prob(self, x: Array) -> Array:
    """log p(x) of the data, [B] nats."""
    return self.data.log_prob(x)

  def entropy(self) -> float:
    """-E log p(x) of the data, nats."""
    return self.data.entropy()


class _Joined:
  """`num` rows of two splits: one that is shorter begins again, and of one that is longer they are evenly spread."""

  def __init__(self, data: Any, start: Any, num: int):
    self._data, self._start, self._num = data, start, num

  def __len__(self) -> int:
    return self._num

  def __getitem__(self, index: np.ndarray) -> dict[str, np.ndarray]:
    return {**self._data[self._of(self._data, index)], "start": self._start[self._of(self._start, index)]["x"]}

  def _of(self, split: Any, index: np.ndarray) -> np.ndarray:
    return index % len(split) if len(split) < self._num else index * len(split) // self._num
