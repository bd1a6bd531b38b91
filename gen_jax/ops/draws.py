"""Draws that are less noisy together than each by itself."""

import jax
import jax.numpy as jnp

from gen_jax.types import Array, Key


def systematic(key: Key, num: int) -> Array:
  """A systematic sample: `num` points of [0, 1), each uniform, together one in each of `num` equal parts."""
  return (jax.random.uniform(key) + jnp.arange(num) / num) % 1.0
