"""From levels to real numbers: log P(x) >= E[log p(y) - log q(y | x)], y drawn from q within the interval of level x.

Level k of `levels` owns the interval of half a step to either side of 2 k / (levels - 1) - 1.
"""

import math

import jax
import jax.numpy as jnp

from gen_jax.ops import gaussians
from gen_jax.types import Array, Key


def uniform(key: Key, x: Array, levels: int) -> tuple[Array, Array]:
  """y uniform over the interval (1511.01844, section 3.1), of the shape of x, and log q(y | x), [B] nats."""
  step = 2.0 / (levels - 1)
  y = x + step * (jax.random.uniform(key, x.shape, x.dtype) - 0.5)
  return y, jnp.full(len(x), -x[0].size * math.log(step), x.dtype)


def logit_normal(key: Key, x: Array, mean: Array, log_std: Array, levels: int) -> tuple[Array, Array]:
  """y = x + step (sigmoid(mean + std noise) - 1/2): a q that can be learned (1902.00275, section 3.1).

  Args:
    key: the noise.
    x: levels as floats in [-1, 1], [B, ...].
    mean: of the logit, of the shape of x.
    log_std: of the logit, of the shape of x.
    levels: number of levels.

  Returns:
    y, of the shape of x, and log q(y | x), [B] nats.
  """
  step = 2.0 / (levels - 1)
  logit = mean + jnp.exp(log_std) * jax.random.normal(key, x.shape, x.dtype)
  y = x + step * (jax.nn.sigmoid(logit) - 0.5)
  log_slope = math.log(step) + jax.nn.log_sigmoid(logit) + jax.nn.log_sigmoid(-logit)
  terms = gaussians.log_prob(logit, mean, log_std) - log_slope
  return y, terms.reshape(len(x), -1).sum(-1)
