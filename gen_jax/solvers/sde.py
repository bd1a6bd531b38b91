"""Methods for stochastic differential equations."""

import jax.numpy as jnp

from gen_jax.ops.shapes import expand
from gen_jax.solvers.base import Solver, as_sde, as_semilinear, half_log_snr


def _euler_maruyama(sde, key, x, t, s, carry):
  h = s - t
  dw = expand(jnp.sqrt(jnp.abs(h)), x) * sde.noise(key, x, t, s)
  return x + expand(h, x) * sde.drift(t, x) + expand(sde.diffusion(t), x) * dw, carry


euler_maruyama = Solver(_euler_maruyama, of=as_sde, order=1, stochastic=True)


def _heun(sde, key, x, t, s, carry):
  """Heun's method with the same increment in both stages; noise that does not depend on x has one calculus only.

  Kloeden and Platen, Numerical Solution of Stochastic Differential Equations, section 15.1: expectations of order 2.
  """
  h, dw = expand(s - t, x), expand(jnp.sqrt(jnp.abs(s - t)), x) * sde.noise(key, x, t, s)
  d, g, g_next = sde.drift(t, x), expand(sde.diffusion(t), x), expand(sde.diffusion(s), x)
  d_next = sde.drift(s, x + h * d + g * dw)
  return x + h * (d + d_next) / 2 + (g + g_next) / 2 * dw, carry


heun = Solver(_heun, of=as_sde, order=2, evaluations=2, stochastic=True)


def _reverse_diffusion(p, key, x, t, s, carry):
  """The reverse of the forward step x_t = A x_s + sqrt(Q) z, cut up in the same way: arXiv:2011.13456, eq. 46.

  x_s = (2 - A) x_t + Q score + sqrt(Q) z with A = alpha(t) / alpha(s), Q = sigma(t)^2 - A^2 sigma(s)^2.
  """
  share = -jnp.expm1(2 * (half_log_snr(p, t) - half_log_snr(p, s)))
  q = expand(p.sigma(t) ** 2 * share, x)
  ahead = expand(2 - p.alpha(t) / p.alpha(s), x) * x
  return ahead + q * p.score(t, x) + jnp.sqrt(q) * p.noise(key, x, t, s), carry


reverse_diffusion = Solver(_reverse_diffusion, of=as_semilinear, order=1, stochastic=True)
