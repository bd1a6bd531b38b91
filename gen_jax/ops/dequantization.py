"""From levels to real numbers: log P(x) >= E[log p(y) - log q(y | x)], y drawn from q within the interval of level x.

Level k of `levels` owns the interval of half a step to either side of 2 k / (levels - 1) - 1. The bound is tight where
q is p, cut to that interval.
"""

import math

import jax
import jax.numpy as jnp

from gen_jax.ops.shapes import sum_flat
from gen_jax.types import Array, Key


def uniform(key: Key, x: Array, levels: int) -> tuple[Array, Array]:
  """y uniform over the interval (1511.01844, section 3.1), of the shape of x, and log q(y | x), [B] nats."""
  step = 2.0 / (levels - 1)
  y = x + step * (jax.random.uniform(key, x.shape, x.dtype) - 0.5)
  return y, jnp.full(len(x), -x[0].size * math.log(step), x.dtype)


def logistic(key: Key, x: Array, mean: Array, log_scale: Array, levels: int) -> tuple[Array, Array]:
  """y = x + step (sigmoid(mean + scale noise) - 1/2), noise logistic: a q to be learned (1902.00275, section 3.1).

  A mean of 0 and a scale of 1 are `uniform`: what is learned is no worse.

  Args:
    key: the noise.
    x: levels as floats in [-1, 1], [B, ...].
    mean: of the logit, of the shape of x.
    log_scale: of the logit, of the shape of x.
    levels: number of levels.

  Returns:
    y, of the shape of x, and log q(y | x), [B] nats.
  """
  step = 2.0 / (levels - 1)
  noise = jax.random.logistic(key, x.shape, x.dtype)
  logit = mean + jnp.exp(log_scale) * noise
  y = x + step * (jax.nn.sigmoid(logit) - 0.5)
  slope = lambda a: jax.nn.log_sigmoid(a) + jax.nn.log_sigmoid(-a)  # log of the density, and of the sigmoid's slope
  terms = slope(noise) - log_scale - slope(logit) - math.log(step)
  return y, sum_flat(terms)
