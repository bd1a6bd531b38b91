"""How much the errors at each time count.

A weighting is a function w(path, t), of the shape of t. The loss is E[w(path, t) |x0 - x0hat|^2], whatever the network
predicts: the weight always applies to the error of the data, and a squared error of eps is snr = alpha^2 / sigma^2
times it. What a noise level counts for in all is this weight times the density of training times there.
"""

from collections.abc import Callable

import jax.numpy as jnp

from gen_jax.errors import require
from gen_jax.ops.slope import value_and_slope
from gen_jax.processes.gaussian import Gaussian
from gen_jax.solvers.base import half_log_snr
from gen_jax.types import Array

Weighting = Callable[[Gaussian, Array], Array]


def simple() -> Weighting:
  """w = snr, which is unit weight on the error of eps: arXiv:2006.11239, eq. 14."""
  return _snr


def edm(sigma_data: float = 0.5) -> Weighting:
  """w = snr + 1 / sigma_data^2, which is unit weight on the error of F: arXiv:2206.00364, table 1.

  With sigma_data = 1 it is unit weight on the error of v ("SNR + 1", arXiv:2202.00512, section 4).

  Args:
    sigma_data: standard deviation of the data.

  Raises:
    InputError: one that is not positive.
  """
  require(sigma_data=(sigma_data, sigma_data > 0, "positive"))
  return lambda path, t: _snr(path, t) + 1 / sigma_data**2


def x0() -> Weighting:
  """w = 1, which is unit weight on the error of the data."""
  return lambda path, t: jnp.ones_like(t)


def velocity() -> Weighting:
  """w = snr (sigma d/dt log(alpha / sigma))^2, unit weight on the error of dx/dt: arXiv:2210.02747, eq. 9."""
  return lambda path, t: _snr(path, t) * jnp.square(path.sigma(t) * _fall(path, t))


def min_snr(gamma: float = 5.0) -> Weighting:
  """w = min(snr, gamma): arXiv:2303.09556 (Min-SNR-gamma).

  Args:
    gamma: largest weight.

  Raises:
    InputError: one that is not positive.
  """
  require(gamma=(gamma, gamma > 0, "positive"))
  return lambda path, t: jnp.minimum(_snr(path, t), gamma)


def truncated() -> Weighting:
  """w = max(snr, 1), unit weight on the larger of the errors of eps and of the data: arXiv:2202.00512, section 4."""
  return lambda path, t: jnp.maximum(_snr(path, t), 1.0)


def p2(gamma: float = 1.0, k: float = 1.0) -> Weighting:
  """w = snr / (k + snr)^gamma, less of what is nearly clean already: arXiv:2204.00227 (P2).

  Args:
    gamma: 0 is `simple`, more takes more from little noise.
    k: snr at which that sets in.

  Raises:
    InputError: a negative gamma, or a k that is not positive.
  """
  require(gamma=(gamma, gamma >= 0, "at least 0"), k=(k, k > 0, "positive"))
  return lambda path, t: _snr(path, t) / (k + _snr(path, t)) ** gamma


def likelihood() -> Weighting:
  """w = -1/2 d snr/dt (t_max - t_min): with uniform times the loss is that of a bound: arXiv:2101.09258, theorem 1.

  It is g^2 / 2 on the error of the score, and what the variational bound in continuous time integrates; in nats for
  each entry of the data, as losses are means over them.
  """
  return lambda path, t: _snr(path, t) * _fall(path, t) * (path.t_max - path.t_min)


def _snr(path: Gaussian, t: Array) -> Array:
  """alpha^2 / sigma^2."""
  return jnp.exp(2 * half_log_snr(path, t))


def _fall(path: Gaussian, t: Array) -> Array:
  """-d/dt log(alpha / sigma), positive."""
  return -value_and_slope(lambda t: half_log_snr(path, t), t)[1]
