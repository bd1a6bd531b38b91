"""How near images are to others."""

import jax.numpy as jnp

from gen_jax.ops.shapes import mean_flat
from gen_jax.types import Array

_LEAST = 1e-10  # of a mean squared error, which is 0 between equal images


def psnr(a: Array, b: Array) -> Array:
  """The peak signal-to-noise ratio of each of two sets of images [B, ...] in [-1, 1], [B] dB; 106 of equal ones."""
  error = mean_flat(jnp.square(a - b))
  return 10 * jnp.log10(4 / jnp.maximum(error, _LEAST))
