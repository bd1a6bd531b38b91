"""Samples from a family: in equal chunks of one compiled program, as arrays, as a grid, as a file."""

import dataclasses
import math
import os
import re
import time
import zipfile
import zlib
from typing import Any, BinaryIO

import jax
import numpy as np

from gen_jax.data import entries
from gen_jax.data.images import to_uint8
from gen_jax.errors import InputError, near, one_line
from gen_jax.family import Family, HasLatents
from gen_jax.ops.shapes import batches
from gen_jax.run import mesh as meshes
from gen_jax.run import writer
from gen_jax.solvers.base import check_finite
from gen_jax.types import Key, PyTree, Spec

_TILE = 32  # pixels: smaller images are enlarged, by whole factors, to at least this


@dataclasses.dataclass(frozen=True)
class Timing:
  """What samples cost.

  Attributes:
    compile_seconds: tracing and compiling, once.
    seconds: everything else, for all of them.
    evaluations_per_image: network evaluations; None where an adaptive solver decides.
  """

  compile_seconds: float
  seconds: float
  evaluations_per_image: int | None


class Sampler:
  """`family.sample`, compiled for chunks of `batch_size`, which are divided over this process's devices."""

  def __init__(self, family: Family, params: PyTree, batch_size: int):
    self.family, self.batch_size = family, batch_size
    start = time.perf_counter()
    fn = meshes.divided(lambda key, params, cond: family.sample(key, params, batch_size, cond))
    example = (jax.random.key(0), params, conditions(family, batch_size))
    with one_line("the sampler"):
      lowered = fn.lower(*meshes.everywhere(example))
    self._shape = lowered.out_info.shape[1:]
    self._compiled = lowered.compile()
    self.compile_seconds = time.perf_counter() - start

  def __call__(self, key: Key, params: PyTree, num: int, cond: dict[str, np.ndarray] | None = None) -> np.ndarray:
    """[num, *shape] float32 on the host; the same for the same key, `num` and batch size.

    Raises:
      InputError: `cond` does not fit the family.
      MemoryError: the host has no room for them.
    """
    try:
      out = np.empty((num, *self._shape), np.float32)  # before anything is drawn
    except ValueError as e:  # more than can be counted
      raise MemoryError(str(e)) from e
    cond = conditions(self.family, num, cond)
    params = meshes.everywhere(params)

    def fetch(first, x):
      out[first : first + self.batch_size] = np.asarray(x)[: num - first]

    made = []  # and not fetched: one chunk, while the devices are at the next
    for i, rows in enumerate(batches(num, self.batch_size)):
      chunk = None if cond is None else {k: v[rows] for k, v in cond.items()}
      made.append((rows[0], self._compiled(*meshes.everywhere((jax.random.fold_in(key, i), params, chunk)))))
      if len(made) == 2:
        fetch(*made.pop(0))
    for last in made:
      fetch(*last)
    return out


def draw(
  family: Family, params: PyTree, num: int, *, key: Key, cond: dict[str, Any] | None = None, batch_size: int = 256
) -> tuple[np.ndarray, Timing]:
  """`num` samples [num, *shape] float32, and what they cost.

  Args:
    family: the model.
    params: its parameters.
    num: how many samples.
    key: they are a function of the key, `num` and `batch_size`.
    cond: rows [num] for each of the family's conditions; by default every class equally often.
    batch_size: how many are made at once.

  Raises:
    InputError: `cond` does not fit the family, or a solver could not finish.
    MemoryError: the host has no room for them.
  """
  sampler = Sampler(family, params, min(batch_size, num))
  start = time.perf_counter()
  x = sampler(key, params, num, cond)
  check_finite(x, adaptive=family.evaluations is None)
  return x, Timing(sampler.compile_seconds, time.perf_counter() - start, family.evaluations)


def through_codes(family: HasLatents, params: PyTree, x: np.ndarray, *, key: Key, batch_size: int = 256) -> np.ndarray:
  """What x [N, *shape] is after it was encoded and decoded, float32 on the host."""

  @meshes.divided
  def fn(key, params, x):
    key_z, key_x = jax.random.split(key)
    return family.decode(key_x, params, family.encode(key_z, params, x))

  params, size, out = meshes.everywhere(params), min(batch_size, len(x)), []
  for rows in batches(len(x), size):
    chunk = meshes.everywhere((jax.random.fold_in(key, rows[0]), params, x[rows]))
    out.append(np.asarray(fn(*chunk), np.float32))
  return np.concatenate(out)[: len(x)]


def conditions(family: Family, num: int, cond: dict[str, Any] | None = None) -> dict[str, np.ndarray] | None:
  """`cond` as arrays of `num` rows, checked. By default labels go round the classes, and all else asks for nothing.

  None where unconditional.

  Raises:
    InputError: an unknown condition, or rows that are none of it: a label that is no class, a text that is too long.
  """
  for name in cond or {}:
    if name not in family.conditions:
      what = near(name, family.conditions) if family.conditions else "it is unconditional"
      raise InputError(f"{type(family).__name__} has no condition {name!r}: {what}")
  if not family.conditions:
    return None
  known, cond = family.spec.entries, dict(cond or {})
  for name in family.conditions:
    entry = known[name]
    cond.setdefault(name, np.arange(num) % entry.size if entry.kind == "label" else np.zeros(entry.shape))
  return {name: entries.rows(known[name], value, num) for name, value in cond.items()}


def parse(text: str | None) -> dict[str, int | str | np.ndarray] | None:
  """`--cond=label=3` as {"label": 3}, `--cond="caption=a six"` as {"caption": "a six"}, boxes=FILE.npy as its array.

  Raises:
    InputError: it is not written like that, or there is no such file.
  """
  if not text:
    return None
  pairs = [part.partition("=") for part in text.split(",")]
  names = [name for name, _, _ in pairs]
  if not all(name and value for name, _, value in pairs) or len(set(names)) < len(names):
    raise InputError(f'--cond={text!r}: write it as label=3, "caption=a six" or boxes=FILE.npy')
  return {name.strip(): _value(value) for name, _, value in pairs}


def _value(text: str) -> int | str | np.ndarray:
  if re.fullmatch(r"\s*-?[0-9]+\s*", text):
    return int(text)
  if not text.endswith(".npy"):
    return text
  try:
    array = np.load(os.path.expanduser(text), allow_pickle=False)
  except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as e:
    raise InputError(f"--cond: {text} cannot be read as an array ({e}): write it by numpy.save") from None
  if not isinstance(array, np.ndarray):
    raise InputError(f"--cond: {text} is an npz of several arrays: write one by numpy.save")
  return array


def save(path: str | os.PathLike, spec: Spec, x: np.ndarray, cond: dict[str, np.ndarray] | None = None) -> None:
  """An npz with `x`, uint8 [N, H, W, C] for images and float32 [N, D] for vectors, and the rows of each condition."""
  with writer.replacing(path) as f:
    np.savez(f, x=to_uint8(x) if spec.kind == "image" else x.astype(np.float32), **(cond or {}))


def picture(path: str | os.PathLike, spec: Spec, x: np.ndarray, columns: int | None = None) -> None:
  """A PNG of samples: a grid of images, or a scatter plot of the first two coordinates of vectors."""
  with writer.replacing(path) as f:
    if spec.kind == "image":
      _grid(f, to_uint8(x), columns or math.ceil(math.sqrt(len(x))))
    else:
      _scatter(f, x)


def columns(family: Family) -> int | None:
  """A column per class where labels go round the classes, unless that is too wide."""
  return family.spec.classes if "label" in family.conditions and family.spec.classes <= 20 else None


def _grid(file: BinaryIO, x: np.ndarray, columns: int) -> None:
  from PIL import Image

  x = x[..., :3] if x.shape[-1] >= 3 else np.repeat(x[..., :1], 3, -1)
  factor = max(1, -(-_TILE // min(x.shape[1:3])))
  x = x.repeat(factor, 1).repeat(factor, 2)
  num, h, w, _ = x.shape
  rows = -(-num // columns)
  sheet = np.zeros((rows * columns, h + 1, w + 1, 3), np.uint8)  # a line of black between tiles
  sheet[:num, :h, :w] = x
  sheet = sheet.reshape(rows, columns, h + 1, w + 1, 3).swapaxes(1, 2).reshape(rows * (h + 1), columns * (w + 1), 3)
  Image.fromarray(sheet[:-1, :-1]).save(file, format="PNG")


def _scatter(file: BinaryIO, x: np.ndarray) -> None:
  from matplotlib.figure import Figure

  figure = Figure(figsize=(5, 5))
  axes = figure.add_subplot()
  axes.scatter(x[:, 0], x[:, 1] if x.shape[1] > 1 else np.zeros(len(x)), s=2)
  axes.set_aspect("equal")
  figure.savefig(file, dpi=120, format="png")
