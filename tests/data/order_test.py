import itertools
import math

import jax
import numpy as np
import pytest
from scipy import stats

from gen_jax.data import order

SIZES = [1, 2, 3, 5, 7, 8, 9, 10, 16, 17, 99, 100, 101, 256, 257, 1000, 1442, 60_000]


def epoch_order(seed, epoch, n):
  x = np.arange(n, dtype=np.uint32)
  return order.permute(seed, np.full(n, epoch, np.uint32), x, n)


@pytest.mark.parametrize("n", SIZES)
def test_every_row_once_an_epoch(n):
  for seed, epoch in itertools.product([0, 1, 2**40], [0, 1, 2**32 - 1]):
    assert np.array_equal(np.sort(epoch_order(seed, epoch, n)), np.arange(n))


def test_largest_sizes_stay_in_range_without_collisions():
  n = order.MAX_ROWS
  x = np.random.default_rng(0).choice(n, 100_000, replace=False).astype(np.uint32)
  x[:2] = 0, n - 1
  x = np.unique(x)
  y = order.permute(3, np.zeros(len(x), np.uint32), x, n)
  assert y.max() < n
  assert len(np.unique(y)) == len(x)


def test_all_orders_of_four_rows_are_equally_likely():
  seeds, n = 24_000, 4
  perms = list(itertools.permutations(range(n)))
  x = np.tile(np.arange(n, dtype=np.uint32), seeds)
  y = order.permute(0, np.repeat(np.arange(seeds, dtype=np.uint32), n), x, n).reshape(seeds, n)
  counts = np.bincount([perms.index(tuple(p)) for p in y.tolist()], minlength=math.factorial(n))
  assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("n", [13, 100])
def test_every_place_is_equally_likely_for_every_row(n):
  epochs = 4000
  x = np.tile(np.arange(n, dtype=np.uint32), epochs)
  y = order.permute(5, np.repeat(np.arange(epochs, dtype=np.uint32), n), x, n)
  counts = np.bincount(x * n + y, minlength=n * n)
  assert stats.chisquare(counts, ddof=2 * n - 2).pvalue > 1e-3  # rows and columns of the table are fixed


def test_neighbours_are_scattered():
  n = 60_000
  y = epoch_order(0, 0, n).astype(np.int64)
  gaps = np.abs(np.diff(y))
  assert abs(gaps.mean() / (n / 3) - 1) < 0.02  # what independent uniform draws have
  assert abs(np.corrcoef(y[:-1], y[1:])[0, 1]) < 0.02
  assert abs(np.corrcoef(np.arange(n), y)[0, 1]) < 0.02


def test_epochs_and_seeds_have_orders_of_their_own():
  n = 10_000
  orders = [epoch_order(seed, epoch, n) for seed in (0, 1, -1, 2**32) for epoch in (0, 1, 2)]
  for a, b in itertools.combinations(orders, 2):
    assert (a == b).mean() < 10 / n + 1e-3  # about one match by chance


def test_a_known_order():
  """Runs resume only if the order never changes: no library and no version may alter these numbers."""
  assert epoch_order(0, 0, 10).tolist() == [6, 0, 2, 7, 9, 5, 3, 1, 4, 8]
  assert epoch_order(7, 3, 10).tolist() == [7, 1, 8, 6, 2, 0, 5, 3, 9, 4]


@pytest.mark.parametrize("n, batch_size", [(10, 3), (10, 10), (7, 5), (1442, 128)])
def test_batches_run_on_across_epochs(n, batch_size):
  steps = 3 * n // batch_size + 2
  rows = np.concatenate([order.indices(1, *order.locate(s, batch_size, n), batch_size, n) for s in range(steps)])
  for epoch in range(len(rows) // n):
    assert np.array_equal(rows[epoch * n : (epoch + 1) * n], epoch_order(1, epoch, n))


@pytest.mark.parametrize("n, batch_size", [(1, 1), (10, 4), (1442, 128), (60_000, 256), (2**30, 64)])
def test_numpy_and_jit_agree(n, batch_size):
  compiled = jax.jit(lambda epoch, start: order.indices(11, epoch, start, batch_size, n))
  for step in [0, 1, n // batch_size, 10**6 + 1, 10**9]:
    epoch, start = order.locate(step, batch_size, n)
    ours = order.indices(11, epoch, start, batch_size, n)
    assert ours.dtype == np.int32
    assert np.array_equal(ours, compiled(epoch, start))


def test_late_steps_do_not_overflow():
  epoch, start = order.locate(10**9, 4096, 60_000)
  assert (int(epoch), int(start)) == divmod(10**9 * 4096, 60_000)
