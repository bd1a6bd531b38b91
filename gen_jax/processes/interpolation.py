"""Ways from one data set to another, x_t = alpha(t) x + beta(t) start + gamma(t) z, with noise z in between.

As everywhere, t = 0 is the data that a model makes, and t = 1 where it starts; the papers count the other way.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.ops.shapes import expand
from gen_jax.ops.slope import value_and_slope
from gen_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Interpolation:
  """A linear stochastic interpolant: arXiv:2303.08797, definition 2.1 and section 4.

  Attributes:
    alpha: t -> the scale of the data, from 1 to 0, of the shape of t.
    beta: t -> the scale of the start, from 0 to 1; alpha beta' - alpha' beta is nowhere 0.
    gamma: t -> the scale of the noise, 0 at both ends and nowhere else.
    t_min: where sampling stops, > 0.
    t_max: where sampling starts, < 1; at the very ends the slope of gamma may be infinite.
  """

  alpha: Callable[[Array], Array]
  beta: Callable[[Array], Array]
  gamma: Callable[[Array], Array]
  t_min: float = 1e-3
  t_max: float = 0.999

  def mix(self, x: Array, start: Array, z: Array, t: Array) -> Array:
    """x_t, of the shape of `x` [B, ...], at times t, [B] or a scalar."""
    return self.mean(x, start, t) + expand(self.gamma(t), x) * z

  def mean(self, x: Array, start: Array, t: Array) -> Array:
    """alpha(t) x + beta(t) start: the interpolant without its noise."""
    return expand(self.alpha(t), x) * x + expand(self.beta(t), x) * start

  def slope(self, x: Array, start: Array, t: Array) -> Array:
    """alpha'(t) x + beta'(t) start: how fast `mean` moves."""
    return value_and_slope(lambda t: self.mean(x, start, t), t)[1]

  def data(self, mean: Array, slope: Array, t: Array) -> Array:
    """The x of which these are `mean` and `slope`."""
    (a, da), (b, db) = (value_and_slope(f, t) for f in (self.alpha, self.beta))
    return (expand(db, mean) * mean - expand(b, mean) * slope) / expand(a * db - da * b, mean)


def linear(noise: float = 1.0) -> Interpolation:
  """alpha = 1 - t, beta = t, gamma = sqrt(noise t (1 - t)), a Brownian bridge's: arXiv:2303.08797, section 4.

  Args:
    noise: variance of the bridge per unit of time; the square of the scale of the data is a lot.

  Raises:
    InputError: no noise.
  """
  return Interpolation(lambda t: 1.0 - t, lambda t: t, _bridge(noise))


def trigonometric(noise: float = 1.0) -> Interpolation:
  """alpha = cos(pi t / 2), beta = sin(pi t / 2), gamma = sqrt(noise t (1 - t)): arXiv:2303.08797, section 4.

  Data and start that are independent and of one variance keep it all the way, but for the noise.

  Args:
    noise: variance of the bridge per unit of time.

  Raises:
    InputError: no noise.
  """
  return Interpolation(lambda t: jnp.cos(jnp.pi * t / 2), lambda t: jnp.sin(jnp.pi * t / 2), _bridge(noise))


def _bridge(noise: float) -> Callable[[Array], Array]:
  if noise <= 0:
    raise InputError(f"noise = {noise} should be more than 0: without it there is no score")
  return lambda t: jnp.sqrt(noise * t * (1.0 - t))
