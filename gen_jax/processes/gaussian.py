"""Gaussian paths x_t = alpha(t) x0 + sigma(t) eps from data to noise: schedules differ in nothing else.

Both functions are written so that float32 keeps their relative precision at both ends, where 1 - alpha^2 would not.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.ops.shapes import expand
from gen_jax.solvers.base import Semilinear
from gen_jax.types import Array, Key


@dataclasses.dataclass(frozen=True)
class Gaussian:
  """q(x_t | x0) = N(alpha(t) x0, sigma(t)^2) for t_min <= t <= t_max; t_min is almost data, t_max almost noise.

  Attributes:
    alpha: t -> the scale of the data, of the shape of t; does not grow relative to sigma.
    sigma: t -> the scale of the noise, of the shape of t.
    t_min: where sampling stops, > 0.
    t_max: where sampling starts, from N(0, sigma(t_max)^2).
  """

  alpha: Callable[[Array], Array]
  sigma: Callable[[Array], Array]
  t_min: float
  t_max: float

  def perturb(self, key: Key, x: Array, t: Array) -> tuple[Array, Array]:
    """(xt, eps), both of the shape of `x` [B, ...], at times t, [B] or a scalar."""
    eps = jax.random.normal(key, x.shape, x.dtype)
    return expand(self.alpha(t), x) * x + expand(self.sigma(t), x) * eps, eps

  def prior(self, key: Key, shape: tuple[int, ...]) -> Array:
    """Where sampling starts: noise of the scale sigma(t_max)."""
    return self.sigma(jnp.asarray(self.t_max)) * jax.random.normal(key, shape)

  def problem(self, denoise: Callable[[Array, Array], Array]) -> Semilinear:
    """The way from noise to data, given denoise(t, xt) -> x0."""
    return Semilinear(self.alpha, self.sigma, denoise)


def linear(beta_min: float = 0.1, beta_max: float = 20.0, t_min: float = 1e-3) -> Gaussian:
  """Variance preserving, with a noise rate linear in t: arXiv:2011.13456, eq. 33.

  alpha = exp(-t^2 (beta_max - beta_min) / 4 - t beta_min / 2), which is DDPM's schedule 1e-4 ... 0.02 of 1,000 steps
  (arXiv:2006.11239, section 4) in continuous time.

  Args:
    beta_min: rate at t = 0; steps of 1 / N make it DDPM's beta_1 N.
    beta_max: rate at t = 1.
    t_min: where sampling stops.
  """
  log_alpha = lambda t: -(t**2) * (beta_max - beta_min) / 4 - t * beta_min / 2
  return Gaussian(
    alpha=lambda t: jnp.exp(log_alpha(t)),
    sigma=lambda t: jnp.sqrt(-jnp.expm1(2 * log_alpha(t))),
    t_min=t_min,
    t_max=1.0,
  )


def cosine(offset: float = 0.008, t_min: float = 1e-3, t_max: float = 0.995) -> Gaussian:
  """Variance preserving, alpha = cos(u(t)) / cos(u(0)) with u = (t + s) / (1 + s) pi / 2: arXiv:2102.09672, eq. 17.

  At t = 1 nothing is left of the data and log(alpha / sigma) is infinite; t_max stops short of it, where alpha is 0.008
  as it is 0.007 at the end of the linear schedule.

  Args:
    offset: s, which keeps the first steps from being vanishingly small.
    t_min: where sampling stops.
    t_max: where sampling starts.
  """
  scale = jnp.pi / 2 / (1 + offset)
  start = float(offset * scale)
  # cos^2 a - cos^2 b = sin(b - a) sin(b + a)
  square = lambda t: jnp.sin(t * scale) * jnp.sin(t * scale + 2 * start) / jnp.cos(start) ** 2
  return Gaussian(
    alpha=lambda t: jnp.cos(t * scale + start) / jnp.cos(start),
    sigma=lambda t: jnp.sqrt(square(t)),
    t_min=t_min,
    t_max=t_max,
  )


def edm(sigma_min: float = 0.002, sigma_max: float = 80.0) -> Gaussian:
  """alpha = 1, sigma = t: arXiv:2206.00364, table 1, "ours".

  Args:
    sigma_min: noise at which sampling stops.
    sigma_max: noise from which sampling starts; many times the scale of the data.
  """
  return Gaussian(alpha=jnp.ones_like, sigma=lambda t: t, t_min=sigma_min, t_max=sigma_max)


def rectified(t_min: float = 1e-3, t_max: float = 0.999) -> Gaussian:
  """alpha = 1 - t, sigma = t, straight lines between data and noise: arXiv:2209.03003, eq. 1; arXiv:2210.02747, eq. 22.

  Args:
    t_min: where sampling stops.
    t_max: where sampling starts.
  """
  return Gaussian(alpha=lambda t: 1.0 - t, sigma=lambda t: t, t_min=t_min, t_max=t_max)
