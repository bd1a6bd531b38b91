"""Batches for the loop: the same pure function of (seed, step), from memory on the device or streamed from the host.

A feed has three parts. `store` goes to the compiled step as an argument; `chunk(step, num, size)` is what the host
prepares for `num` steps; `batch(store, item)` is traced into the step and turns one item of a chunk into a batch:

    def chunk_of_steps(state, store, chunk):
      return lax.scan(lambda state, item: family.step(..., state, feed.batch(store, item)), state, chunk)
"""

import sys
from collections.abc import Iterator
from typing import Protocol

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from gen_jax.data import order
from gen_jax.data.base import Source, Split
from gen_jax.errors import InputError
from gen_jax.types import Batch, Key, PyTree

_STREAM = 0xDA7A  # keeps the keys of the data apart from all others that come from the same seed


class Feed(Protocol):
  """What the loop knows of its data.

  Attributes:
    source: the data set.
    store: arrays on the device that every step reads.
  """

  source: Source
  store: PyTree

  def chunk(self, step: int, num: int, size: int) -> PyTree:
    """What steps step .. step + num - 1 need from the host; every leaf has a leading axis, with zeros up to `size`."""

  def batch(self, store: PyTree, item: PyTree) -> Batch:
    """The batch of one step; traceable. `item` is a chunk without its leading axis."""


def feed(
  source: Source,
  *,
  seed: int,
  batch_size: int,
  sharding: NamedSharding | None = None,
  max_resident_bytes: int = 2**30,
) -> Feed:
  """The training rows of `source`, in memory on the device if they fit there, else streamed.

  Args:
    source: a data set.
    seed: decides the order of the rows and every augmentation.
    batch_size: rows of a batch, over all devices and hosts.
    sharding: how a batch is laid out over devices: its first axis only, such as PartitionSpec("data").
    max_resident_bytes: the most that the raw rows may take on each device.

  Raises:
    InputError: a batch is larger than the data, or does not divide over the devices; more rows than can be shuffled.
  """
  split = source.split("train")
  if not 0 < batch_size <= len(split):
    raise InputError(f"batch_size = {batch_size}, but there are {len(split)} training rows: choose 1 to {len(split)}")
  if len(split) > order.MAX_ROWS:
    raise InputError(f"{len(split)} training rows are more than the {order.MAX_ROWS} that can be shuffled: take a part")
  if sharding is not None:
    _check_divides(batch_size, sharding)
  kind = Resident if len(split) * _row_bytes(split) <= max_resident_bytes else Stream
  return kind(source, split, seed=seed, batch_size=batch_size, sharding=sharding)


class Resident:
  """Rows that live on the device, whole on each; batches are gathered inside the compiled step."""

  def __init__(
    self, source: Source, split: Split, *, seed: int, batch_size: int, sharding: NamedSharding | None = None
  ):
    self.source, self._n, self._seed, self._batch_size, self._sharding = source, len(split), seed, batch_size, sharding
    everywhere = None if sharding is None else NamedSharding(sharding.mesh, PartitionSpec())
    rows = split[np.arange(len(split))]
    self.store = {k: _to_device(v, everywhere, v.shape) for k, v in rows.items()}

  def chunk(self, step: int, num: int, size: int) -> PyTree:
    """Where each batch begins: a few bytes a step."""
    steps = np.arange(step, step + num)
    epoch, start = order.locate(steps, self._batch_size, self._n)
    return _filled({"step": steps.astype(np.uint32), "epoch": epoch, "start": start}, size)

  def batch(self, store: PyTree, item: PyTree) -> Batch:
    """Gathers the rows of one step and prepares them."""
    index = order.indices(self._seed, item["epoch"], item["start"], self._batch_size, self._n)
    raw = {k: v[index] for k, v in store.items()}
    if self._sharding is not None:
      raw = jax.lax.with_sharding_constraint(raw, self._sharding)
    return self.source.prepare(_key(self._seed, item["step"]), raw, training=True)


class Stream:
  """Rows that threads read ahead of the loop; each host reads only those of its own devices.

  Chunks are cheapest in order. Any other step may be asked for at any time: reading starts afresh there.
  """

  store: PyTree = {}

  def __init__(
    self,
    source: Source,
    split: Split,
    *,
    seed: int,
    batch_size: int,
    sharding: NamedSharding | None = None,
    num_threads: int = 8,
    prefetch: int = 32,
  ):
    self.source, self._split, self._seed, self._batch_size, self._sharding = source, split, seed, batch_size, sharding
    self._mine = _local_rows(sharding, batch_size)
    self._threads, self._prefetch = num_threads, prefetch
    self._next, self._batches = None, None
    self._asked, self._rows = None, None

  def chunk(self, step: int, num: int, size: int) -> PyTree:
    """The raw rows of `num` batches, on the devices; those of the last call are not read again."""
    if (step, num) != self._asked:
      self._asked, self._rows = (step, num), self._read(step, num)
    steps = np.arange(step, step + num, dtype=np.uint32)
    # Filled up on the host: on devices every `num` would be a program of its own.
    return {**_filled({"step": steps}, size), "raw": jax.tree.map(self._put, _filled(self._rows, size))}

  def _read(self, step: int, num: int) -> dict[str, np.ndarray]:
    if step != self._next:
      self._batches = self._read_from(step)
    self._next = step + num
    batches = [next(self._batches) for _ in range(num)]
    return {k: np.stack([b[k] for b in batches]) for k in batches[0]}

  def batch(self, store: PyTree, item: PyTree) -> Batch:
    """Prepares the rows of one step."""
    del store
    return self.source.prepare(_key(self._seed, item["step"]), item["raw"], training=True)

  def _read_from(self, step: int) -> Iterator[dict[str, np.ndarray]]:
    import grain  # half a second, which runs on data in memory need not wait

    options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=self._prefetch)
    return iter(grain.MapDataset.range(step, sys.maxsize).map(self._load).to_iter_dataset(options))

  def _load(self, step: int) -> dict[str, np.ndarray]:
    """This host's rows of the batch of one step."""
    n = len(self._split)
    epoch, start = order.locate(step, self._batch_size, n)
    return self._split[order.indices(self._seed, epoch, start, self._batch_size, n)[self._mine]]

  def _put(self, rows: np.ndarray) -> jax.Array:
    """[num, this host's rows, ...] -> [num, batch_size, ...] over all hosts."""
    shape = (rows.shape[0], self._batch_size, *rows.shape[2:])
    sharding = self._sharding and NamedSharding(self._sharding.mesh, PartitionSpec(None, *self._sharding.spec))
    return _to_device(rows, sharding, shape)


def _key(seed: int, step: jax.Array) -> Key:
  return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _STREAM), step)


def _filled(arrays: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
  """`arrays` with zeros up to `size` rows."""
  fill = lambda a: np.concatenate([a, np.zeros((size - len(a), *a.shape[1:]), a.dtype)]) if len(a) < size else a
  return {k: fill(a) for k, a in arrays.items()}


def _to_device(rows: np.ndarray, sharding: NamedSharding | None, shape: tuple[int, ...]) -> jax.Array:
  """This host's part of an array of `shape` -> the array."""
  if sharding is None:
    return jax.device_put(rows)
  return jax.make_array_from_process_local_data(sharding, rows, shape)


def _local_rows(sharding: NamedSharding | None, batch_size: int) -> np.ndarray:
  """Which rows of a batch the devices of this host hold, in order."""
  rows = np.arange(batch_size)
  if sharding is None:
    return rows
  here = sharding.addressable_devices_indices_map((batch_size,)).values()
  return np.unique(np.concatenate([rows[index] for index in here]))


def _row_bytes(split: Split) -> int:
  return sum(v.nbytes for v in split[np.zeros(1, np.int64)].values())


def _check_divides(batch_size: int, sharding: NamedSharding) -> None:
  axes = sharding.spec[0] if len(sharding.spec) else None
  axes = (axes,) if isinstance(axes, str) else axes or ()
  parts = int(np.prod([sharding.mesh.shape[a] for a in axes]))
  if batch_size % parts:
    raise InputError(f"batch_size = {batch_size} does not divide over {parts} devices: use a multiple of {parts}")
