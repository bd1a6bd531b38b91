"""Which rows a step trains on: a shuffle that is computed rather than stored.

Epoch e visits the rows in the order pi_e(0), pi_e(1), ..., where pi_e is a permutation of [0, n) keyed by the seed and
the epoch. A batch costs O(batch) whatever n is, any step can be reached directly, and every host can work out its own
part alone. pi_e is a generalised Feistel cipher (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002,
method 3): on pairs (l, r) in [0, a) x [0, b) a round adds a hash of one half to the other, which is undone by
subtracting it, so that the whole is a bijection of [0, a b); points that land outside [0, n) are sent round again
until they land inside ("cycle walking"). With a = ceil(sqrt n) and b = ceil(n / a) hardly any do: a b - n < a.

The same code runs on NumPy arrays and under jit, and gives the same integers.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.types import Array

_ROUNDS = 8  # 4 suffice for a pseudo-random permutation of a large set; small ones need a few more to mix
MAX_ROWS = 2**30  # of a data set: keeps every sum below within uint32


def locate(step: int | np.ndarray, batch_size: int, n: int) -> tuple[np.ndarray, np.ndarray]:
  """(epoch, start) of a step's batch: its first row is number `start` of `epoch`. On the host, where ints are long."""
  first = np.asarray(step, np.int64) * batch_size
  return (first // n).astype(np.uint32), (first % n).astype(np.uint32)


def indices(seed: int, epoch: Array, start: Array, batch_size: int, n: int) -> Array:
  """The rows of the batch that begins at `start` of `epoch`: batches run on across the ends of epochs.

  Args:
    seed: a whole number, taken modulo 2^64.
    epoch: uint32 scalar, NumPy or JAX.
    start: uint32 scalar in [0, n), of the same kind.
    batch_size: at most n.
    n: number of rows, at most 2^30.

  Returns:
    int32 [batch_size], within each epoch without repetition.
  """
  xp = jnp if isinstance(start, jax.Array) else np
  position = xp.asarray(start)[None] + xp.arange(batch_size, dtype=np.uint32)
  epoch = xp.asarray(epoch)[None] + (position >= np.uint32(n)).astype(np.uint32)
  return permute(seed, epoch, position % np.uint32(n), n).astype(np.int32)


def permute(seed: int, epoch: Array, x: Array, n: int) -> Array:
  """pi_epoch(x) for x uint32 [B] in [0, n), epoch uint32 [B]."""
  xp = jnp if isinstance(x, jax.Array) else np
  key = _mix(epoch ^ _fold(seed))

  def walk(state):
    x, outside = state
    x = xp.where(outside, _feistel(key, x, n), x)
    return x, x >= np.uint32(n)

  unfinished = lambda state: state[1].any()
  state = x, xp.ones(x.shape, bool)
  if xp is jnp:
    return jax.lax.while_loop(unfinished, walk, state)[0]
  while unfinished(state):
    state = walk(state)
  return state[0]


def _feistel(key: Array, x: Array, n: int) -> Array:
  """A keyed bijection of [0, a b), a b >= n."""
  a = math.isqrt(n - 1) + 1
  b = -(-n // a)
  left, right = x // np.uint32(b), x % np.uint32(b)
  for i in range(_ROUNDS):
    hashed = _mix(right ^ _mix(key + np.uint32(i)))
    left, right = right, (left + hashed % np.uint32(a)) % np.uint32(a)
    a, b = b, a
  return left * np.uint32(b) + right  # an even number of rounds: the halves are back in their places


def _mix(h: Any) -> Any:
  """A bijection of uint32 in which each bit of the input reaches all of the output (MurmurHash3's finaliser)."""
  h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
  h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
  return h ^ (h >> np.uint32(16))


def _fold(seed: int) -> np.uint32:
  """32 bits of a seed, which may have 64."""
  return np.random.SeedSequence(seed % 2**64).generate_state(1)[0]
