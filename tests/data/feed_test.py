"""Both kinds of feed give the same batches: the same function of (seed, step), whatever the layout and the history."""

import functools
import itertools
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gen_jax.data import feed, order
from gen_jax.data.base import Arrays
from gen_jax.data.images import Images
from gen_jax.errors import InputError

HERE = pathlib.Path(__file__)
N, BATCH, SEED = 101, 12, 7


class Numbered(Images):
  """Row i is an image whose pixels spell i."""

  shape = (4, 4, 1)
  classes = 10

  def split(self, name):
    i = np.arange(N)
    return Arrays(x=np.tile(i.astype(np.uint8)[:, None, None, None], (1, *self.shape)), label=(i % 10).astype(np.int32))


SOURCE = Numbered(flip=True, binarize="dynamic")  # so that the keys matter too
PLAIN = Numbered()


def make(kind, source, sharding=None):
  limit = {"resident": 2**30, "stream": 0}[kind]
  out = feed.feed(source, seed=SEED, batch_size=BATCH, sharding=sharding, max_resident_bytes=limit)
  assert type(out).__name__.lower() == kind
  return out


@functools.cache
def compiled(data):
  return jax.jit(data.batch)


def batches(data, step, num):
  """The columns of each batch of a chunk, as lists of `num` arrays."""
  chunk = data.chunk(step, num, num)
  items = [compiled(data)(data.store, jax.tree.map(lambda v, i=i: v[i], chunk)) for i in range(num)]
  return {k: [item[k] for item in items] for k in items[0]}


def host(tree):
  return {k: np.asarray(v) for k, v in tree.items()}


def assert_equal(a, b):
  assert a.keys() == b.keys()
  for k in a:
    np.testing.assert_array_equal(a[k], b[k])


@pytest.mark.parametrize("kind", ["resident", "stream"])
def test_batches_hold_the_rows_of_the_order(kind):
  x = host(batches(make(kind, PLAIN), 5, 6))["x"]
  rows = np.round((x[:, :, 0, 0, 0] + 1) * 127.5).astype(int)
  expected = [order.indices(SEED, *order.locate(step, BATCH, N), BATCH, N) for step in range(5, 11)]
  np.testing.assert_array_equal(rows, expected)


def test_resident_and_stream_agree():
  resident, stream = make("resident", SOURCE), make("stream", SOURCE)
  for step, num in [(0, 5), (5, 9), (14, 1), (100, 3), (2, 2)]:  # the last two jump
    assert_equal(host(batches(resident, step, num)), host(batches(stream, step, num)))


@pytest.mark.parametrize("kind", ["resident", "stream"])
def test_a_fresh_feed_goes_on_where_another_stopped(kind):
  whole = host(batches(make(kind, SOURCE), 0, 20))
  first, second = host(batches(make(kind, SOURCE), 0, 13)), host(batches(make(kind, SOURCE), 13, 7))
  assert_equal(whole, {k: np.concatenate([first[k], second[k]]) for k in whole})


def test_seeds_and_steps_have_keys_of_their_own():
  x = host(batches(make("resident", SOURCE), 0, 3))["x"]
  other = feed.feed(SOURCE, seed=SEED + 1, batch_size=BATCH)
  assert (x[0] != x[1]).any()
  assert (x[0] != host(batches(other, 0, 1))["x"][0]).any()


def test_a_whole_epoch_fits_in_one_batch_and_no_more():
  data = feed.feed(PLAIN, seed=0, batch_size=N)
  x = host(batches(data, 0, 1))["x"][0, :, 0, 0, 0]
  assert len(np.unique(x)) == N
  with pytest.raises(InputError, match=f"batch_size = {N + 1}, but there are {N} training rows"):
    feed.feed(PLAIN, seed=0, batch_size=N + 1)


def test_more_rows_than_can_be_shuffled_are_refused(monkeypatch):
  monkeypatch.setattr(order, "MAX_ROWS", N - 1)
  with pytest.raises(InputError, match=f"{N} training rows are more than the {N - 1}"):
    feed.feed(PLAIN, seed=0, batch_size=1)


def test_a_chunk_of_a_resident_feed_is_a_few_bytes_a_step():
  chunk = make("resident", SOURCE).chunk(0, 50, 50)
  assert sum(v.nbytes for v in jax.tree.leaves(chunk)) <= 12 * 50


def test_a_stream_in_order_reads_every_batch_once(monkeypatch):
  data, read = make("stream", PLAIN), []
  load = data._load
  monkeypatch.setattr(data, "_load", lambda step: read.append(step) or load(step))
  for step, num in [(0, 5), (5, 9), (14, 1)]:
    data.chunk(step, num, num)
  assert len(read) == len(set(read))
  assert set(range(15)) <= set(read)


class FourDevices:
  """As much of a sharding over four devices, two of them here, as the slicing of batches asks for."""

  def __init__(self, slices):
    self.slices = slices

  def addressable_devices_indices_map(self, shape):
    return {i: (s,) for i, s in enumerate(self.slices)}


def test_the_rows_of_two_hosts_make_up_the_batch():
  quarters = [slice(i, i + 3) for i in range(0, BATCH, 3)]
  rows = [feed._local_rows(FourDevices(half), BATCH) for half in (quarters[:2], quarters[2:])]
  np.testing.assert_array_equal(np.concatenate(rows), np.arange(BATCH))
  replicated = feed._local_rows(FourDevices([slice(None)] * 2), BATCH)
  np.testing.assert_array_equal(replicated, np.arange(BATCH))


def test_a_batch_that_does_not_divide_over_devices_is_refused():
  mesh = jax.sharding.AbstractMesh((8,), ("data",))
  with pytest.raises(InputError, match="does not divide over 8 devices"):
    feed.feed(PLAIN, seed=0, batch_size=BATCH, sharding=NamedSharding(mesh, PartitionSpec("data")))


def worker(process, address, out):
  """One of two processes with two devices each: saves the parts of the batches that its devices hold."""
  jax.distributed.initialize(address, num_processes=2, process_id=process)
  mesh = Mesh(np.array(jax.devices()), ("data",))
  sharding = NamedSharding(mesh, PartitionSpec("data"))
  parts = {}
  for kind in ("resident", "stream"):
    for k, steps in batches(make(kind, SOURCE, sharding), 4, 3).items():
      for i, v in enumerate(steps):
        assert len(v) == BATCH
        parts |= {f"{kind} {k} {i} {s.index[0].start or 0}": np.asarray(s.data) for s in v.addressable_shards}
  np.savez(out, **parts)


def test_a_stream_is_not_read_again_for_what_was_asked_last():
  data = make("stream", SOURCE)
  data._read_from = functools.partial(_count, data._read_from, starts := [])
  data.chunk(3, 1, 1)
  data.chunk(3, 1, 4)
  data.chunk(4, 2, 4)
  assert starts == [3]
  data.chunk(3, 1, 4)
  assert starts == [3, 3]


@pytest.mark.parametrize("kind", ["resident", "stream"])
def test_a_chunk_is_filled_up_with_zeros(kind):
  short, full = (make(kind, SOURCE).chunk(2, 3, size) for size in (3, 5))
  for a, b in zip(jax.tree.leaves(short), jax.tree.leaves(full), strict=True):
    assert (a.shape[1:], len(b)) == (b.shape[1:], 5)
    np.testing.assert_array_equal(b[:3], a)
    assert not np.any(b[3:])


def _count(fn, calls, step):
  calls.append(step)
  return fn(step)


def test_two_processes_with_two_devices_each_agree_with_one(tmp_path):
  with socket.socket() as s:
    s.bind(("localhost", 0))
    address = f"localhost:{s.getsockname()[1]}"
  env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
  env["PYTHONPATH"] = os.pathsep.join(sys.path)
  outs = [tmp_path / f"{i}.npz" for i in range(2)]
  commands = [[sys.executable, str(HERE), str(i), address, str(outs[i])] for i in range(2)]
  processes = [subprocess.Popen(c, env=env, stderr=subprocess.PIPE, text=True) for c in commands]
  for process in processes:
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
  parts = {k: v for out in outs for k, v in np.load(out, allow_pickle=False).items()}
  starts = range(0, BATCH, BATCH // 4)
  for k, steps in batches(make("resident", SOURCE), 4, 3).items():
    for i, kind in itertools.product(range(3), ("resident", "stream")):
      together = np.concatenate([parts[f"{kind} {k} {i} {start}"] for start in starts])
      np.testing.assert_array_equal(together, steps[i])


if __name__ == "__main__":
  worker(int(sys.argv[1]), sys.argv[2], sys.argv[3])
