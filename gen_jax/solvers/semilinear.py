"""Solvers that integrate the linear part exactly and approximate only the denoiser.

lambda = log(alpha / sigma) throughout; r = exp(2 lambda(t) - 2 lambda(s)) is the ratio of signal-to-noise ratios, and
1 - r the share of the noise at s that is fresh in q(x_s | x_t, x0).
"""

import jax
import jax.numpy as jnp

from gen_jax.ops.shapes import expand
from gen_jax.solvers.base import Solver, as_semilinear, half_log_snr


def ddim(eta: float = 0.0) -> Solver:
  """DDIM: arXiv:2010.02502, eqs. 12 and 16, for any alpha and sigma.

  x_s = alpha(s) x0 + sigma(s) (sqrt(1 - eta^2 (1 - r)) eps + eta sqrt(1 - r) z), with z fresh noise.

  Args:
    eta: 0 is deterministic and solves the probability flow; 1 draws from the posterior, as DDPM does.
  """

  def step(p, key, x, t, s, carry):
    x0, fresh = p.denoise(t, x), expand(_fresh(p, t, s), x)
    eps = (x - expand(p.alpha(t), x) * x0) / expand(p.sigma(t), x)
    if eta:
      noise = jax.random.normal(key, x.shape, x.dtype)
      eps = jnp.sqrt(1.0 - eta**2 * fresh) * eps + eta * jnp.sqrt(fresh) * noise
    return expand(p.alpha(s), x) * x0 + expand(p.sigma(s), x) * eps, carry

  return Solver(step, of=as_semilinear, order=1, stochastic=eta > 0)


def _ancestral(p, key, x, t, s, carry):
  """A draw from q(x_s | x_t, x0): arXiv:2006.11239, eqs. 6 and 7, for any alpha and sigma."""
  x0, fresh = p.denoise(t, x), _fresh(p, t, s)
  of_x0 = p.alpha(s) * fresh
  of_xt = p.alpha(t) * p.sigma(s) ** 2 / (p.alpha(s) * p.sigma(t) ** 2)
  std = p.sigma(s) * jnp.sqrt(fresh)
  noise = jax.random.normal(key, x.shape, x.dtype)
  return expand(of_x0, x) * x0 + expand(of_xt, x) * x + expand(std, x) * noise, carry


ancestral = Solver(_ancestral, of=as_semilinear, order=1, stochastic=True)


def _dpmpp_2m(p, key, x, t, s, carry):
  """DPM-Solver++(2M): arXiv:2211.01095, algorithm 2. The carry is (x0, width in lambda) of the step before."""
  del key
  last, h_last = carry
  x0, h = p.denoise(t, x), half_log_snr(p, s) - half_log_snr(p, t)
  first = h_last == 0.0  # nothing to extrapolate from: this step is DDIM
  slope = jnp.where(first, 0.0, h / (2.0 * jnp.where(first, 1.0, h_last)))
  ahead = x0 + expand(slope, x) * (x0 - last)
  return expand(p.sigma(s) / p.sigma(t), x) * x - expand(p.alpha(s) * jnp.expm1(-h), x) * ahead, (x0, h)


dpmpp_2m = Solver(
  _dpmpp_2m,
  of=as_semilinear,
  init=lambda problem, x: (jnp.zeros_like(x), jnp.zeros((), x.dtype)),
  order=2,
)


def _fresh(p, t, s):
  """1 - r, without cancellation."""
  return -jnp.expm1(2.0 * (half_log_snr(p, t) - half_log_snr(p, s)))
