"""Continuous distributions on the grid of values that a pixel can take.

Level k of `levels` is x = 2 k / (levels - 1) - 1. Its mass is that of the interval of half a step to either side, and
the first and the last level also own the tail beyond them, so that the masses of all levels sum to one.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr

from gen_jax.types import Array

_NARROW = 1e-2  # of the scale


def logistic(x: Array, mean: Array, log_scale: Array, levels: int) -> Array:
  """Log mass of the logistic distribution on the level `x` (1701.05517, eq. 2), in nats, per entry.

  With a and b the standardised ends of the interval, sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)),
  which loses no digits however far x is from the mean.

  Args:
    x: levels as floats in [-1, 1].
    mean: location, broadcasts with x.
    log_scale: log of the scale, broadcasts with x.
    levels: number of levels, at least 2.
  """
  low, high, width = _ends(x, mean, log_scale, levels)
  below, above = jax.nn.log_sigmoid(high), jax.nn.log_sigmoid(-low)
  inside = below + above + jnp.log(-jnp.expm1(-width))
  return _with_tails(x, inside, below, above, levels)


def gaussian(x: Array, mean: Array, log_scale: Array, levels: int) -> Array:
  """Log mass of the normal distribution on the level `x`, in nats, per entry; arguments as in `logistic`.

  The interval is mirrored to the left of the mean, where differences of the distribution function keep their digits. In
  narrow ones they do not: there the density is integrated as phi(m + u) = phi(m) exp(-m u), which leaves out a factor
  of 1 - width^2 / 24.
  """
  low, high, width = _ends(x, mean, log_scale, levels)
  narrow = width < _NARROW
  middle = (low + high) / 2
  thin = -(middle**2) / 2 - math.log(2 * math.pi) / 2 + math.log(2 / (levels - 1)) - log_scale
  thin += _log_sinhc(jnp.where(narrow, jnp.abs(middle) * width / 2, 0.0))

  mirror = middle > 0
  left, right = jnp.where(mirror, -high, low), jnp.where(mirror, -low, high)
  upper = log_ndtr(right)
  difference = log_ndtr(jnp.where(narrow, right - 1, left)) - upper  # of any value where it is not taken
  inside = jnp.where(narrow, thin, upper + jnp.log(-jnp.expm1(difference)))
  return _with_tails(x, inside, log_ndtr(high), log_ndtr(-low), levels)


def nearest(x: Array, levels: int) -> Array:
  """The level nearest to `x`, as a float in [-1, 1]: turns a draw from the density into a draw from the masses."""
  return jnp.round((jnp.clip(x, -1.0, 1.0) + 1) * (levels - 1) / 2) * 2 / (levels - 1) - 1


def _ends(x, mean, log_scale, levels):
  """The interval of `x` in units of the scale: its two ends and its width."""
  half, rate = 1.0 / (levels - 1), jnp.exp(-log_scale)
  return (x - half - mean) * rate, (x + half - mean) * rate, 2 * half * rate


def _log_sinhc(z):
  """log(sinh(z) / z) for z >= 0."""
  large = jnp.maximum(z, 0.3)
  return jnp.where(z < 0.3, z**2 / 6 - z**4 / 180, large + jnp.log1p(-jnp.exp(-2 * large)) - jnp.log(2 * large))


def _with_tails(x, inside, below, above, levels):
  step = 2.0 / (levels - 1)
  first, last = x < -1 + step / 2, x > 1 - step / 2
  return jnp.where(first, below, jnp.where(last, above, inside))
