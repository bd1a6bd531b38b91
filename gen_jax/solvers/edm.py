"""The samplers of arXiv:2206.00364 (EDM), for any Gaussian path.

A path alpha, sigma is the path of EDM, z = x0 + ratio eps, seen through x = alpha z with ratio = sigma / alpha; the
methods work on z with the ratio as their time, so that they do not depend on how a path is timed.
"""

import jax
import jax.numpy as jnp

from gen_jax.errors import require
from gen_jax.ops.shapes import expand
from gen_jax.ops.slope import value_and_slope
from gen_jax.solvers.base import Solver, as_semilinear, half_log_snr, noise_level, with_eps


def _heun(p, key, x, t, s, carry):
  """Heun's method on dz/d(ratio) = (z - x0) / ratio: lines 4 to 8 of algorithm 1.

  Its last line, the Euler step to zero noise, is what a sampler gets from denoising at the end of the grid.
  """
  del key
  eps = p.eps(t, x)  # which is the slope
  eps_next = p.eps(s, with_eps(p, x, t, s, eps))
  return with_eps(p, x, t, s, (eps + eps_next) / 2), carry


heun = Solver(_heun, of=as_semilinear, order=2, evaluations=2)


def churn(gamma: float = 0.1, s_min: float = 0.05, s_max: float = 50.0, s_noise: float = 1.0) -> Solver:
  """The stochastic sampler: algorithm 2. Noise is added, then a step of Heun's method removes it and more.

  With a fixed `gamma` the last step's error stays as the grid is refined; with gamma = S_churn / N it vanishes, and the
  order is 1.

  Args:
    gamma: share by which a step first raises the ratio: S_churn / N for N steps, at most sqrt(2) - 1.
    s_min: no noise is added where sigma / alpha is below this.
    s_max: nor where it is above this.
    s_noise: scale of the noise that is added, slightly above 1 where a network removes too much.

  Raises:
    InputError: a negative gamma, a scale that is not positive, or no noise level between s_min and s_max.
  """
  require(gamma=(gamma, gamma >= 0, "at least 0"), s_noise=(s_noise, s_noise > 0, "positive"))
  require(s_min=(s_min, s_min < s_max, f"below s_max = {s_max}"))
  gamma = min(gamma, 2**0.5 - 1)

  def step(p, key, x, t, s, carry):
    ratio = noise_level(p, t)
    grow = jnp.where((s_min <= ratio) & (ratio <= s_max), gamma, 0.0).astype(x.dtype)
    up = _time_above(p, t, jnp.log1p(grow))
    noise = s_noise * p.alpha(up) * ratio * jnp.sqrt((1 + grow) ** 2 - 1)
    x = expand(p.alpha(up) / p.alpha(t), x) * x + expand(noise, x) * p.noise(key, x, t, s)
    return _heun(p, key, x, up, s, carry)

  return Solver(step, of=as_semilinear, order=1, evaluations=2, stochastic=gamma > 0)


def _time_above(p, t, rise):
  """The time after t at which log(sigma / alpha) is larger by `rise`, which is small: by Newton's method.

  The rise is made in parts: from the whole of it Newton's first step may leave the times of a path that ends nearby.
  """
  log_ratio = lambda u: -half_log_snr(p, u)
  start = log_ratio(t)

  def newton(i, u):
    at, slope = value_and_slope(log_ratio, u)
    return u + (start + rise * jnp.minimum((i + 1) / 4, 1.0) - at) / slope

  return jax.lax.fori_loop(0, 8, newton, t)
