"""Functions from denoiser to denoiser that steer what is sampled."""

from collections.abc import Callable

import jax.numpy as jnp

from gen_jax.types import Array

Denoise = Callable[[Array, Array], Array]  # (t, xt) -> x0


def classifier_free(denoise: Callable[[Array, Array, Array], Array], label: Array, null: int, weight: float) -> Denoise:
  """x0(null) + weight (x0(label) - x0(null)): arXiv:2207.12598, eq. 6, with `weight` = w + 1.

  0 is unconditional, 1 conditional, more exaggerates the label. Both halves are one batch of 2 B.

  Args:
    denoise: (t, xt, label) -> x0, with t a scalar or [B].
    label: int32 [B].
    null: the label that stands for "any".
    weight: strength of the guidance.
  """

  def guided(t, xt):
    labels = jnp.concatenate([label, jnp.full_like(label, null)])
    times = jnp.tile(jnp.broadcast_to(t, label.shape), 2)
    given, free = jnp.split(denoise(times, jnp.concatenate([xt, xt]), labels), 2)
    return free + weight * (given - free)

  return guided


def clipped(denoise: Denoise) -> Denoise:
  """Estimates clipped to [-1, 1], the range of images: arXiv:2006.11239's sampler and most since."""
  return lambda t, xt: jnp.clip(denoise(t, xt), -1.0, 1.0)
