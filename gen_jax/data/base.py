"""What every source of data gives the rest of the house.

A source knows what its examples look like (`spec`) before any of them is read, hands out raw rows at random access
(`split`), and turns them into what a model sees inside the compiled step (`prepare`). Raw rows are as small as the
data allow, uint8 for images, so that they are cheap to keep on a device and to move to one.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np

from gen_jax.errors import InputError, near
from gen_jax.types import Batch, Key, Spec

SplitName = Literal["train", "test"]
T = TypeVar("T")
_FILES = ("path", "embeddings")  # fields that count by the last part of their path
_ELSEWHERE = ("manual_dir", "data_dir", "flip", "num_train", "num_test")  # fields that change no test example


class Split(Protocol):
  """Rows that can be read in any order."""

  def __len__(self) -> int:
    """Number of rows."""

  def __getitem__(self, index: np.ndarray) -> dict[str, np.ndarray]:
    """The raw rows at `index`, integers [B]: "x" [B, *shape], and "label" int32 [B] where there are classes."""


class Source(Protocol):
  """A data set."""

  @property
  def spec(self) -> Spec:
    """What one example is; reads no examples."""

  def split(self, name: SplitName) -> Split:
    """The rows for training or for testing."""

  def prepare(self, key: Key, raw: Batch, training: bool) -> Batch:
    """What a model sees of raw rows; traceable. Augmentations happen only where `training`."""


def label(source: Source) -> str:
  """The name of a data set, with what makes its test examples others than by default: "Ring(modes=6)".

  Where its files lie does not count, nor what happens to training examples alone.
  """
  if not dataclasses.is_dataclass(source):
    return type(source).__name__
  changed = []
  for field in dataclasses.fields(source):
    value, default = getattr(source, field.name), field.default
    if field.default_factory is not dataclasses.MISSING:
      default = field.default_factory()
    show = label if dataclasses.is_dataclass(value) else repr
    if field.name not in _ELSEWHERE and (default is dataclasses.MISSING or show(value) != show(default)):
      changed.append(f"{field.name}={show(Path(value).name if field.name in _FILES else value)}")
  return type(source).__name__ + (f"({', '.join(changed)})" if changed else "")


class Arrays:
  """A split held in memory.

  Args:
    columns: arrays of equal length, "x" and perhaps "label". They are kept in the machine's own byte order: files
      such as IDX are big-endian, which no accelerator takes.
  """

  def __init__(self, **columns: np.ndarray):
    lengths = {k: len(v) for k, v in columns.items()}
    if len(set(lengths.values())) != 1:
      raise ValueError(f"columns of different lengths: {lengths}")
    self.columns = {k: np.ascontiguousarray(v, v.dtype.newbyteorder("=")) for k, v in columns.items()}

  def __len__(self) -> int:
    return len(next(iter(self.columns.values())))

  def __getitem__(self, index: np.ndarray) -> dict[str, np.ndarray]:
    return {k: v[index] for k, v in self.columns.items()}


def pick(splits: Mapping[str, T], name: str) -> T:
  """What belongs to the split called `name`.

  Raises:
    InputError: there is none.
  """
  if name not in splits:
    raise InputError(f"no split {name!r}: {near(name, splits)}")
  return splits[name]
