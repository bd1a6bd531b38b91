"""The variance of a step of the reverse chain, learned beside its mean: arXiv:2102.09672, section 3.1.

q(x_s | x_t, x0) has the standard deviation b = sigma_s sqrt(1 - r), and the paper puts that of the model between b and
b sigma_t / sigma_s, on a logarithmic scale: it is b (sigma_t / sigma_s)^share for a share in [0, 1] of every entry,
which the network gives. A stochastic solver whose noise is scaled by that power steps with the learned variance.
"""

import jax.numpy as jnp

from gen_jax.ops.shapes import expand
from gen_jax.processes.gaussian import Gaussian
from gen_jax.solvers.base import half_log_snr
from gen_jax.types import Array


def scale(path: Gaussian, share: Array, t: Array, s: Array) -> Array:
  """(sigma_t / sigma_s)^share, of the shape of `share` [B, ...]; t and s are [B] or scalars."""
  return jnp.exp(share * _log_ratio(path, share, t, s))


def kl(path: Gaussian, share: Array, error: Array, t: Array, s: Array) -> Array:
  """KL(q(x_s | x_t, x0) || p(x_s | x_t)) of every entry, nats: a term of the bound, arXiv:2006.11239, eq. 5.

  Both are normal; their variances have the ratio (sigma_t / sigma_s)^(2 share), and the squared distance of their
  means, in units of q's variance, is (snr_s - snr_t) error^2.

  Args:
    path: alpha and sigma.
    share: of every entry, [B, ...].
    error: x0 less its estimate, of the shape of `share`.
    t: times, [B] or a scalar.
    s: earlier times, of the shape of t.
  """
  widening = 2 * share * _log_ratio(path, share, t, s)
  late, early = half_log_snr(path, t), half_log_snr(path, s)
  distance = expand(jnp.exp(2 * late) * jnp.expm1(2 * (early - late)), share) * jnp.square(error)
  return 0.5 * (widening + jnp.expm1(-widening) + distance * jnp.exp(-widening))


def _log_ratio(path, share, t, s):
  return expand(jnp.log(path.sigma(t)) - jnp.log(path.sigma(s)), share)
