"""Broadcasting of per-example numbers."""

from gen_jax.types import Array


def expand(a: Array, x: Array) -> Array:
  """`a`, [B] or a scalar, with trailing axes so that it broadcasts against `x` [B, ...]."""
  return a.reshape(a.shape + (1,) * (x.ndim - a.ndim)) if a.ndim else a
