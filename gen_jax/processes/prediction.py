"""What the output of a denoising network means.

Every choice is the preconditioning of arXiv:2206.00364, eq. 7,

  x0 = skip(t) xt + gain(t) net(scale(t) xt, time(t)),

so that a new one is a formula for `skip` and `gain`, and nothing else in the house knows which was chosen. A prediction
is a function (path, t) -> `Preconditioning`. Inputs are scaled to unit variance, and the network is given the noise as
a quarter of log(sigma / alpha), on any path: networks know neither schedules nor how they are timed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from gen_jax.errors import require
from gen_jax.ops.shapes import expand
from gen_jax.ops.slope import value_and_slope
from gen_jax.processes.gaussian import Gaussian
from gen_jax.solvers.base import half_log_snr
from gen_jax.types import Array


class Preconditioning(NamedTuple):
  """The numbers around a network at some times t; all of the shape of t.

  Attributes:
    skip: how much of xt is in x0.
    gain: how much of the network's output is in x0; the error of x0 is `gain` times the error of the output.
    scale: what xt is multiplied with on its way into the network.
    time: the input of the network for the noise level.
  """

  skip: Array
  gain: Array
  scale: Array
  time: Array

  def inputs(self, xt: Array) -> tuple[Array, Array]:
    """What the network is given for xt [B, ...]: it scaled, and the time."""
    return expand(self.scale, xt) * xt, self.time

  def to_x0(self, out: Array, xt: Array) -> Array:
    """The data that the network's output stands for; [B, ...]."""
    return expand(self.skip, xt) * xt + expand(self.gain, xt) * out

  def from_x0(self, x0: Array, xt: Array) -> Array:
    """The output that stands for `x0`; [B, ...]: the network's target where x0 is the data."""
    return (x0 - expand(self.skip, xt) * xt) / expand(self.gain, xt)


Prediction = Callable[[Gaussian, Array], Preconditioning]


def eps() -> Prediction:
  """The network predicts the noise, x0 = (xt - sigma eps) / alpha: arXiv:2006.11239, eq. 15."""
  return _prediction(lambda a, s: (1 / a, -s / a))


def x0() -> Prediction:
  """The network predicts the data."""
  return _prediction(lambda a, s: (jnp.zeros_like(s), jnp.ones_like(s)))


def v() -> Prediction:
  """The network predicts v = (alpha eps - sigma x0) / sqrt(alpha^2 + sigma^2): arXiv:2202.00512, appendix D.

  The root is 1 on variance-preserving paths, for which v was made; with it v means the same on all others.
  """
  return _prediction(lambda a, s: (a / (a**2 + s**2), -s / jnp.sqrt(a**2 + s**2)))


def score() -> Prediction:
  """The network predicts the score of the noisy data, (alpha x0 - xt) / sigma^2: arXiv:2011.13456, eq. 7."""
  return _prediction(lambda a, s: (1 / a, s**2 / a))


def velocity() -> Prediction:
  """The network predicts dx_t / dt = alpha' x0 + sigma' eps, as flow matching does: arXiv:2210.02747; arXiv:2303.08797.

  On the rectified path it is eps - x0 (arXiv:2210.02747, eq. 23, with time running from data to noise).
  """

  def prediction(path, t):
    (a, da), (s, ds) = (value_and_slope(f, t) for f in (path.alpha, path.sigma))
    gain = s / (da * s - a * ds)
    return Preconditioning(-ds / s * gain, gain, 1 / jnp.sqrt(a**2 + s**2), -half_log_snr(path, t) / 4)

  return prediction


def edm(sigma_data: float = 0.5) -> Prediction:
  """F of arXiv:2206.00364, table 1, at noise sigma / alpha: targets have unit variance and errors are least amplified.

  Args:
    sigma_data: standard deviation of the data.

  Raises:
    InputError: one that is not positive.
  """
  require(sigma_data=(sigma_data, sigma_data > 0, "positive"))

  def coefficients(a, s):
    total = s**2 + (a * sigma_data) ** 2
    return a * sigma_data**2 / total, s * sigma_data / jnp.sqrt(total)

  return _prediction(coefficients, sigma_data)


def _prediction(coefficients: Callable[[Array, Array], tuple[Array, Array]], sigma_data: float = 1.0) -> Prediction:
  """The prediction with (skip, gain) = coefficients(alpha, sigma), for data of the given standard deviation."""

  def prediction(path, t):
    a, s = path.alpha(t), path.sigma(t)
    scale = 1 / jnp.sqrt((a * sigma_data) ** 2 + s**2)
    return Preconditioning(*coefficients(a, s), scale, -half_log_snr(path, t) / 4)

  return prediction
