"""How much the errors at each noise level count.

A weighting is a function w(snr) of snr = alpha^2 / sigma^2, of the shape of snr. The loss is E[w(snr) (x0 - x0hat)^2],
whatever the network predicts: the weight always applies to the error of the data, and a squared error of eps is snr
times it. What a noise level counts for in all is this weight times the density of training times there.
"""

from collections.abc import Callable

import jax.numpy as jnp

from gen_jax.types import Array

Weighting = Callable[[Array], Array]


def simple() -> Weighting:
  """w = snr, which is unit weight on the error of eps: arXiv:2006.11239, eq. 14."""
  return lambda snr: snr


def edm(sigma_data: float = 0.5) -> Weighting:
  """w = snr + 1 / sigma_data^2, which is unit weight on the error of F: arXiv:2206.00364, table 1.

  With sigma_data = 1 it is unit weight on the error of v ("SNR + 1", arXiv:2202.00512, section 4).

  Args:
    sigma_data: standard deviation of the data.
  """
  return lambda snr: snr + 1 / sigma_data**2


def x0() -> Weighting:
  """w = 1, which is unit weight on the error of the data."""
  return jnp.ones_like


def min_snr(gamma: float = 5.0) -> Weighting:
  """w = min(snr, gamma): arXiv:2303.09556, section 3.4.

  Args:
    gamma: largest weight.
  """
  return lambda snr: jnp.minimum(snr, gamma)
