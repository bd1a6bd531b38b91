"""Gaussian paths x_t = alpha(t) x0 + sigma(t) eps from data to noise: schedules differ in nothing else.

Both functions are written so that float32 keeps their relative precision at both ends, where 1 - alpha^2 would not.
Every schedule raises InputError for arguments of which it cannot make a path.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, require
from gen_jax.ops.shapes import expand
from gen_jax.solvers.base import Semilinear
from gen_jax.types import Array, Key


@dataclasses.dataclass(frozen=True)
class Gaussian:
  """q(x_t | x0) = N(alpha(t) x0, sigma(t)^2) for t_min <= t <= t_max; t_min is almost data, t_max almost noise.

  Attributes:
    alpha: t -> the scale of the data, of the shape of t; does not grow relative to sigma.
    sigma: t -> the scale of the noise, of the shape of t.
    t_min: where sampling stops; at 0, without noise, there is no log-SNR for grids and solvers that want it.
    t_max: where sampling starts, from N(0, sigma(t_max)^2).

  Raises:
    InputError: times that are not 0 <= t_min < t_max.
  """

  alpha: Callable[[Array], Array]
  sigma: Callable[[Array], Array]
  t_min: float
  t_max: float

  def __post_init__(self):
    if not 0 <= self.t_min < self.t_max < math.inf:
      raise InputError(f"the times of a path should be 0 <= t_min < t_max, and go from {self.t_min} to {self.t_max}")

  def perturb(self, key: Key, x: Array, t: Array) -> tuple[Array, Array]:
    """(xt, eps), both of the shape of `x` [B, ...], at times t, [B] or a scalar."""
    eps = jax.random.normal(key, x.shape, x.dtype)
    return self.mix(x, eps, t), eps

  def mix(self, x: Array, eps: Array, t: Array) -> Array:
    """xt = alpha(t) x + sigma(t) eps, of the shape of `x` [B, ...], at times t, [B] or a scalar."""
    return expand(self.alpha(t), x) * x + expand(self.sigma(t), x) * eps

  def renoise(self, key: Key, xt: Array, t: Array, s: Array) -> Array:
    """A draw of q(x_s | x_t) for a noisier s: scaled by the ratio of alphas, and the variance that is missing added."""
    ratio = self.alpha(s) / self.alpha(t)
    missing = self.sigma(s) ** 2 - (ratio * self.sigma(t)) ** 2
    return expand(ratio, xt) * xt + expand(jnp.sqrt(jnp.maximum(missing, 0.0)), xt) * jax.random.normal(key, xt.shape)

  def prior(self, key: Key, shape: tuple[int, ...]) -> Array:
    """Where sampling starts: noise of the scale sigma(t_max)."""
    return self.sigma(jnp.asarray(self.t_max)) * jax.random.normal(key, shape)

  def problem(self, denoise: Callable[[Array, Array], Array]) -> Semilinear:
    """The way from noise to data, given denoise(t, xt) -> x0."""
    return Semilinear(self.alpha, self.sigma, denoise, t_min=self.t_min, t_max=self.t_max)


def linear(beta_min: float = 0.1, beta_max: float = 20.0, t_min: float = 1e-3) -> Gaussian:
  """Variance preserving, with a noise rate linear in t: arXiv:2011.13456, eq. 33.

  alpha = exp(-t^2 (beta_max - beta_min) / 4 - t beta_min / 2), which is DDPM's schedule 1e-4 ... 0.02 of 1,000 steps
  (arXiv:2006.11239, section 4) in continuous time.

  Args:
    beta_min: rate at t = 0; steps of 1 / N make it DDPM's beta_1 N.
    beta_max: rate at t = 1.
    t_min: where sampling stops.
  """
  _check_rates(beta_min, beta_max)
  _check_times(t_min)
  log_alpha = lambda t: -(t**2) * (beta_max - beta_min) / 4 - t * beta_min / 2
  return Gaussian(
    alpha=lambda t: jnp.exp(log_alpha(t)),
    sigma=lambda t: jnp.sqrt(-jnp.expm1(2 * log_alpha(t))),
    t_min=t_min,
    t_max=1.0,
  )


def cosine(offset: float = 0.008, t_min: float = 1e-3, t_max: float = 0.995) -> Gaussian:
  """Variance preserving, alpha = cos(u(t)) / cos(u(0)), u = (t + s) / (1 + s) pi / 2: arXiv:2102.09672, section 3.2.

  At t = 1 nothing is left of the data and log(alpha / sigma) is infinite; t_max stops short of it, where alpha is 0.008
  as it is 0.007 at the end of the linear schedule.

  Args:
    offset: s, which keeps the first steps from being vanishingly small.
    t_min: where sampling stops.
    t_max: where sampling starts.
  """
  require(offset=(offset, 0 <= offset < math.inf, "at least 0"))
  _check_times(t_min, t_max, 1.0)
  scale = math.pi / 2 / (1 + offset)
  start = offset * scale
  first = math.cos(start)
  # cos^2 a - cos^2 b = sin(b - a) sin(b + a)
  square = lambda t: jnp.sin(t * scale) * jnp.sin(t * scale + 2 * start) / first**2
  return Gaussian(
    alpha=lambda t: jnp.cos(t * scale + start) / first,
    sigma=lambda t: jnp.sqrt(square(t)),
    t_min=t_min,
    t_max=t_max,
  )


def sigmoid(
  start: float = -3.0, end: float = 3.0, tau: float = 1.0, t_min: float = 1e-3, t_max: float = 0.999
) -> Gaussian:
  """Variance preserving, alpha^2 a logistic function s of t that falls from 1 to 0: arXiv:2301.10972, section 2.1.

  alpha^2 = (s(v1) - s(u)) / (s(v1) - s(v0)) with u = v0 + t (v1 - v0), v0 = start / tau, v1 = end / tau; differences as
  s(b) - s(a) = sinh((b - a) / 2) / (2 cosh(a / 2) cosh(b / 2)), which keeps their digits.

  Args:
    start: where on the logistic function the path starts.
    end: where it ends.
    tau: temperature: the smaller, the steeper the middle.
    t_min: where sampling stops.
    t_max: where sampling starts; at t = 1 nothing is left of the data.
  """
  require(tau=(tau, tau > 0, "positive"), end=(end, end > start, "above start"))
  least = max(end - start, abs(start), abs(end)) / 170
  require(tau=(tau, tau >= least, f"at least {least:g}, below which float32 overflows"))
  _check_times(t_min, t_max, 1.0)
  v0, v1 = start / tau, end / tau
  width = v1 - v0
  # Root by root: the products have exponents beyond those of float32.
  part = lambda t: jnp.sqrt(jnp.sinh(width * t / 2) / math.sinh(width / 2))
  slope = lambda v, t: jnp.sqrt(math.cosh(v / 2) / jnp.cosh((v0 + width * t) / 2))
  return Gaussian(
    alpha=lambda t: part(1 - t) * slope(v0, t),
    sigma=lambda t: part(t) * slope(v1, t),
    t_min=t_min,
    t_max=t_max,
  )


def laplace(mean: float = 0.0, scale: float = 0.5, t_min: float = 1e-5, t_max: float = 1 - 1e-5) -> Gaussian:
  """Variance preserving; uniform t make log(alpha^2 / sigma^2) Laplace-distributed: arXiv:2407.03297.

  log(alpha^2 / sigma^2) = mean - scale sgn(1/2 - t) log(1 - 2 |t - 1/2|), so that most times lie near `mean`. Little
  noise and pure noise are reached only as t nears 0 and 1, of which float32 has no t that is closer: the path ends at
  mean +- 10.8 scale. With a scale of 1/2, as published, that leaves 6.7% of the data in the noise that samples start
  from, which shifts their brightness; a network that is told sigma / alpha can be sampled on `cosine` instead.

  Args:
    mean: centre of the distribution.
    scale: its scale.
    t_min: where sampling stops.
    t_max: where sampling starts.
  """
  require(scale=(scale, scale > 0, "positive"))
  _check_times(t_min, t_max, 1.0)

  def log_snr(t):
    return mean + scale * jnp.where(t < 0.5, -jnp.log(2 * t), jnp.log(2 * (1 - t)))

  return Gaussian(
    alpha=lambda t: jnp.exp(jax.nn.log_sigmoid(log_snr(t)) / 2),
    sigma=lambda t: jnp.exp(jax.nn.log_sigmoid(-log_snr(t)) / 2),
    t_min=t_min,
    t_max=t_max,
  )


def trigonometric(t_min: float = 1e-3, t_max: float = 1.56) -> Gaussian:
  """Variance preserving, alpha = cos t, sigma = sin t: arXiv:2410.11081 (TrigFlow).

  With `prediction.edm` and data scaled to unit variance it is EDM; with velocities it is flow matching.

  Args:
    t_min: where sampling stops.
    t_max: where sampling starts; at pi / 2 nothing is left of the data.
  """
  _check_times(t_min, t_max, math.pi / 2)
  return Gaussian(alpha=jnp.cos, sigma=jnp.sin, t_min=t_min, t_max=t_max)


def sub_vp(beta_min: float = 0.1, beta_max: float = 20.0, t_min: float = 1e-3) -> Gaussian:
  """The data of `linear` with less noise, sigma = 1 - alpha^2: arXiv:2011.13456, eq. 29 (sub-VP) with eq. 33's rate.

  Args:
    beta_min: rate at t = 0.
    beta_max: rate at t = 1.
    t_min: where sampling stops.
  """
  _check_rates(beta_min, beta_max)
  _check_times(t_min)
  log_alpha = lambda t: -(t**2) * (beta_max - beta_min) / 4 - t * beta_min / 2
  return Gaussian(
    alpha=lambda t: jnp.exp(log_alpha(t)), sigma=lambda t: -jnp.expm1(2 * log_alpha(t)), t_min=t_min, t_max=1.0
  )


def ve(sigma_min: float = 0.01, sigma_max: float = 50.0, t_min: float = 1e-5) -> Gaussian:
  """Variance exploding, alpha = 1, sigma = sigma_min (sigma_max / sigma_min)^t: arXiv:2011.13456, appendix C.

  Args:
    sigma_min: noise at t = 0, where its samples count as clean.
    sigma_max: noise at t = 1; as large as the largest distance between two data (arXiv:2006.09011, technique 1).
    t_min: where sampling stops.
  """
  _check_scales(sigma_min, sigma_max)
  _check_times(t_min)
  rate = math.log(sigma_max / sigma_min)
  return Gaussian(alpha=jnp.ones_like, sigma=lambda t: sigma_min * jnp.exp(rate * t), t_min=t_min, t_max=1.0)


def edm(sigma_min: float = 0.002, sigma_max: float = 80.0) -> Gaussian:
  """alpha = 1, sigma = t: arXiv:2206.00364, table 1, "ours".

  Args:
    sigma_min: noise at which sampling stops.
    sigma_max: noise from which sampling starts; many times the scale of the data.
  """
  _check_scales(sigma_min, sigma_max)
  return Gaussian(alpha=jnp.ones_like, sigma=lambda t: t, t_min=sigma_min, t_max=sigma_max)


def rectified(t_min: float = 1e-3, t_max: float = 0.999) -> Gaussian:
  """alpha = 1 - t, sigma = t, straight lines between data and noise: arXiv:2209.03003, eq. 1; arXiv:2210.02747, eq. 22.

  Args:
    t_min: where sampling stops.
    t_max: where sampling starts.
  """
  require(t_max=(t_max, t_max <= 1, "at most 1"))
  return Gaussian(alpha=lambda t: 1.0 - t, sigma=lambda t: t, t_min=t_min, t_max=t_max)


def _check_times(t_min: float, t_max: float = 0.0, end: float = 1.0) -> None:
  """For schedules that have no noise at 0 and no data at `end`."""
  require(t_min=(t_min, t_min > 0, "positive"), t_max=(t_max, t_max < end, f"below {end:.6g}"))


def _check_rates(beta_min: float, beta_max: float) -> None:
  require(beta_min=(beta_min, beta_min >= 0, "at least 0"), beta_max=(beta_max, beta_max > beta_min, "above beta_min"))


def _check_scales(sigma_min: float, sigma_max: float) -> None:
  require(sigma_min=(sigma_min, sigma_min > 0, "positive"))
  require(sigma_max=(sigma_max, sigma_max > sigma_min, "above sigma_min"))
