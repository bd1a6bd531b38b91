"""Functions from denoiser to denoiser that steer what is sampled.

A conditional denoiser is a function (t, xt, cond, hidden) -> x0, with t a scalar or [B]; `hidden`, bool [B], marks the
examples whose condition it is not told. A `Guidance` is what a model is sampled with: a weight and a way to use it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.ops.shapes import expand
from gen_jax.processes.gaussian import Gaussian
from gen_jax.solvers.base import half_log_snr
from gen_jax.types import Array, Cond

Denoise = Callable[[Array, Array], Array]  # (t, xt) -> x0
Conditional = Callable[[Array, Array, Cond, Array | None], Array]  # (t, xt, cond, hidden) -> x0


class Guidance(NamedTuple):
  """How a conditional model is steered.

  Attributes:
    weight: 1 is conditional, 0 unconditional, more exaggerates the condition.
    steer: (path, denoise, cond) -> the guided denoiser; only called for other weights than 0 and 1.
  """

  weight: float
  steer: Callable[[Gaussian, Conditional, Cond], Denoise]

  @property
  def evaluations(self) -> int:
    """Network evaluations per denoising, at most."""
    return 1 if self.weight in (0.0, 1.0) else 2

  def __call__(self, path: Gaussian, denoise: Conditional, cond: Cond) -> Denoise:
    """The guided denoiser; where `cond` is None, or the weight is 0, it is told nothing."""
    if cond is None or self.weight == 0.0:
      return lambda t, xt: denoise(t, xt, None, None)
    if self.weight == 1.0:
      return lambda t, xt: denoise(t, xt, cond, None)
    return self.steer(path, denoise, cond)


def classifier_free(weight: float = 1.0) -> Guidance:
  """x0(none) + weight (x0(cond) - x0(none)): arXiv:2207.12598, eq. 6, with `weight` = w + 1.

  Args:
    weight: strength of the guidance.
  """

  def steer(path, denoise, cond):
    def guided(t, xt):
      given, free = both(denoise, cond, t, xt)
      return free + weight * (given - free)

    return guided

  return Guidance(weight, steer)


def interval(weight: float = 1.0, low: float = 0.0, high: float = jnp.inf) -> Guidance:
  """Classifier-free guidance where low < sigma / alpha <= high, and none elsewhere: arXiv:2404.07724, eq. 5.

  A step outside the interval costs one network evaluation instead of two.

  Args:
    weight: strength of the guidance.
    low: noise down to which it guides.
    high: noise up to which it guides.

  Raises:
    InputError: an empty interval.
  """
  if not low < high:
    raise InputError(f"guidance.interval: low = {low} should be less than high = {high}")

  def steer(path, denoise, cond):
    guided = classifier_free(weight).steer(path, denoise, cond)
    plain = lambda t, xt: denoise(t, xt, cond, None)

    def limited(t, xt):
      noise = jnp.exp(-half_log_snr(path, t))
      inside = (low < noise) & (noise <= high)
      if jnp.ndim(t):
        return jnp.where(expand(inside, xt), guided(t, xt), plain(t, xt))
      return jax.lax.cond(inside, guided, plain, t, xt)

    return limited

  return Guidance(weight, steer)


def rescaled(weight: float = 1.0, share: float = 0.7) -> Guidance:
  """Classifier-free guidance whose x0 keeps the standard deviation that it has without: arXiv:2305.08891, section 3.4.

  The paper rescales the output of a network that predicts v; here it is the estimate of the data, as the overexposure
  that it cures is the data's.

  Args:
    weight: strength of the guidance.
    share: phi, how much of the result is rescaled.
  """

  def steer(path, denoise, cond):
    def guided(t, xt):
      given, free = both(denoise, cond, t, xt)
      x0 = free + weight * (given - free)
      axes = tuple(range(1, xt.ndim))
      factor = given.std(axes, keepdims=True) / x0.std(axes, keepdims=True)
      return x0 * (share * factor + 1 - share)

    return guided

  return Guidance(weight, steer)


def both(denoise: Conditional, cond: Cond, t: Array, xt: Array) -> tuple[Array, Array]:
  """(x0 given `cond`, x0 given nothing), as one batch of 2 B."""
  num = len(xt)
  twice = lambda a: jnp.concatenate([a, a])
  hidden = jnp.arange(2 * num) >= num
  x0 = denoise(twice(jnp.broadcast_to(t, num)), twice(xt), jax.tree.map(twice, cond), hidden)
  return x0[:num], x0[num:]


def autoguided(denoise: Denoise, guide: Denoise, weight: float) -> Denoise:
  """guide + weight (denoise - guide), away from a worse model of the same data: arXiv:2406.02507, eq. 5.

  Args:
    denoise: the model.
    guide: a smaller one, or one trained for less time, of the same data and condition.
    weight: strength of the guidance; 1 is none.
  """

  def guided(t, xt):
    worse = guide(t, xt)
    return worse + weight * (denoise(t, xt) - worse)

  return guided


def classifier(
  denoise: Denoise, path: Gaussian, log_prob: Callable[[Array, Array], Array], weight: float = 1.0
) -> Denoise:
  """x0 + weight sigma^2 / alpha grad_xt log p(y | xt), the score plus that of a classifier: arXiv:2105.05233, eq. 14.

  Args:
    denoise: the model.
    path: alpha and sigma.
    log_prob: (t, xt) -> log p(y | xt) [B] nats of what is asked, by a classifier of noisy data.
    weight: strength of the guidance; 1 is Bayes' rule.
  """

  def guided(t, xt):
    slope = jax.grad(lambda xt: log_prob(t, xt).sum())(xt)
    return denoise(t, xt) + weight * expand(path.sigma(t) ** 2 / path.alpha(t), xt) * slope

  return guided


def clipped(denoise: Denoise) -> Denoise:
  """Estimates clipped to [-1, 1], the range of images: arXiv:2006.11239's sampler and most since."""
  return lambda t, xt: jnp.clip(denoise(t, xt), -1.0, 1.0)
