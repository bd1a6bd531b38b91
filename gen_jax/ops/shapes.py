"""Broadcasting of per-example numbers, and batches of one size."""

import numpy as np

from gen_jax.types import Array


def expand(a: Array, x: Array) -> Array:
  """`a`, [B] or a scalar, with trailing axes so that it broadcasts against `x` [B, ...]."""
  return a.reshape(a.shape + (1,) * (x.ndim - a.ndim)) if a.ndim else a


def batches(num: int, size: int) -> list[np.ndarray]:
  """The indices 0 .. `num` - 1 in order, `size` at a time; the last are filled up, so that one program serves all."""
  return [np.arange(first, first + size) % num for first in range(0, num, size)]
