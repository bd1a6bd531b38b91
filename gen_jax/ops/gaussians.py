"""Normal distributions with independent entries."""

import jax.numpy as jnp

from gen_jax.types import Array


def log_prob(x: Array, mean: Array | float = 0.0, log_std: Array | float = 0.0, *, axes: int = 0) -> Array:
  """log N(x; mean, std^2) in nats, summed over the last `axes` axes."""
  terms = -0.5 * jnp.square((x - mean) * jnp.exp(-jnp.asarray(log_std))) - log_std - 0.5 * jnp.log(2 * jnp.pi)
  return terms.sum(axis=tuple(range(-axes, 0))) if axes else terms


def kl_to_standard(mean: Array, log_std: Array) -> Array:
  """KL(N(mean, std^2) || N(0, 1)) of every entry, in nats (1312.6114, appendix B)."""
  return 0.5 * (jnp.exp(2 * log_std) + jnp.square(mean) - 1.0) - log_std
