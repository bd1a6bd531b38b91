"""Functions from denoiser to denoiser that steer what is sampled.

A conditional denoiser is a function (t, xt, cond, hidden) -> x0, with t a scalar or [B]; `hidden`, bool [B], marks the
examples whose condition is hidden. A `Guidance` is what a model is sampled with.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, require
from gen_jax.family import HasDenoiser
from gen_jax.ops.shapes import expand
from gen_jax.processes.gaussian import Gaussian
from gen_jax.resolve import part
from gen_jax.solvers.base import half_log_snr, noise_level
from gen_jax.solvers.grids import time_at
from gen_jax.types import Array, Cond, PyTree, Spec

Denoise = Callable[[Array, Array], Array]  # (t, xt) -> x0
ConditionalDenoise = Callable[[Array, Array, Cond, Array | None], Array]  # (t, xt, cond, hidden) -> x0


SLACK = 1e-3  # relative difference of sigma / alpha within which two paths end at the same noise


class Guidance(Protocol):
  """How a model is steered when it is sampled.

  Attributes:
    weight: 1 is the model as it was trained, more exaggerates what tells it from something worse.
    params: of what it asks beside the model; None where there is nothing.
  """

  weight: float

  @property
  def params(self) -> PyTree:
    """See the attributes."""

  def at(self, params: PyTree) -> "Guidance":
    """The same with these parameters: a student keeps them in its state, beside its teacher's."""

  @property
  def evaluations(self) -> int:
    """Network evaluations per denoising, at most."""

  def check(self, spec: Spec, conditions: tuple[str, ...], cond_dropout: float) -> None:
    """Raises InputError where it does not fit a model of such data that was trained like that."""

  def __call__(self, path: Gaussian, denoise: ConditionalDenoise, cond: Cond) -> Denoise:
    """The guided denoiser; where `cond` is None, of the unconditional model."""


class Free(NamedTuple):
  """Guidance away from what the same model says without the condition.

  Attributes:
    weight: 1 is conditional, 0 unconditional, more exaggerates the condition.
    steer: (path, denoise, cond) -> the guided denoiser; not called where the weight is 1.
  """

  weight: float
  steer: Callable[[Gaussian, ConditionalDenoise, Cond], Denoise]

  @property
  def params(self) -> None:
    """It asks nothing else."""

  def at(self, params: None) -> "Free":
    """Itself."""
    del params
    return self

  @property
  def evaluations(self) -> int:
    """Network evaluations per denoising, at most."""
    return 1 if self.weight in (0.0, 1.0) else 2

  def check(self, spec: Spec, conditions: tuple[str, ...], cond_dropout: float) -> None:
    """Raises InputError for a model that was never trained without its condition."""
    del spec, conditions
    if self.weight != 1.0 and not cond_dropout:
      raise InputError(
        f"guidance.weight = {self.weight} needs a model trained with some conditions hidden: "
        'train with conditions=("label",) and cond_dropout=0.1, or set guidance.weight=1'
      )

  def __call__(self, path: Gaussian, denoise: ConditionalDenoise, cond: Cond) -> Denoise:
    """The guided denoiser; where `cond` is None, the unconditional one."""
    if cond is None:
      return _unconditional(denoise)
    if self.weight == 1.0:
      return lambda t, xt: denoise(t, xt, cond, None)
    return self.steer(path, denoise, cond)


def classifier_free(weight: float = 1.0) -> Free:
  """x0(none) + weight (x0(cond) - x0(none)): arXiv:2207.12598, eq. 6, with `weight` = w + 1.

  Args:
    weight: strength of the guidance.
  """

  def steer(path, denoise, cond):
    def guided(t, xt):
      given, free = both(denoise, cond, t, xt)
      return free + weight * (given - free)

    return guided if weight else _unconditional(denoise)

  return Free(weight, steer)


def interval(weight: float = 1.0, low: float = 0.0, high: float = jnp.inf) -> Free:
  """Classifier-free guidance where low < sigma / alpha <= high, and none elsewhere: arXiv:2404.07724, eqs. 5 and 6.

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
    return _where(path, low, high, guided, lambda t, xt: denoise(t, xt, cond, None))

  return Free(weight, steer)


def rescaled(weight: float = 1.0, share: float = 0.7) -> Free:
  """Classifier-free guidance whose x0 keeps the standard deviation that it has without: arXiv:2305.08891, section 3.4.

  The paper rescales the output of a network that predicts v; here it is the estimate of the data, as the overexposure
  that it cures is the data's.

  Args:
    weight: strength of the guidance.
    share: phi, how much of the result is rescaled.

  Raises:
    InputError: a share outside of [0, 1].
  """
  require(share=(share, 0 <= share <= 1, "from 0 to 1"))

  def steer(path, denoise, cond):
    def guided(t, xt):
      given, free = both(denoise, cond, t, xt)
      x0 = free + weight * (given - free)
      axes = tuple(range(1, xt.ndim))
      spread = x0.std(axes, keepdims=True)
      factor = jnp.where(spread > 0, given.std(axes, keepdims=True) / jnp.where(spread > 0, spread, 1.0), 1.0)
      return x0 * (share * factor + 1 - share)

    return guided if weight else _unconditional(denoise)

  return Free(weight, steer)


def both(denoise: ConditionalDenoise, cond: Cond, t: Array, xt: Array) -> tuple[Array, Array]:
  """(x0 given `cond`, x0 given nothing), as one batch of 2 B."""
  num = len(xt)
  twice = lambda a: jnp.concatenate([a, a])
  hidden = jnp.arange(2 * num) >= num
  x0 = denoise(twice(jnp.broadcast_to(t, num)), twice(xt), jax.tree.map(twice, cond), hidden)
  return x0[:num], x0[num:]


def autoguided(denoise: Denoise, guide: Denoise, weight: float) -> Denoise:
  """guide + weight (denoise - guide), away from a worse model of the same data: arXiv:2406.02507.

  Args:
    denoise: the model.
    guide: a smaller one, or one trained for less time, of the same data and condition.
    weight: strength of the guidance; 1 is none.
  """

  def guided(t, xt):
    worse = guide(t, xt)
    return worse + weight * (denoise(t, xt) - worse)

  return guided


@runtime_checkable
class OnPath(HasDenoiser, Protocol):
  """A dataclass whose denoiser is for data on a Gaussian path, and may be guided.

  Attributes:
    guidance: what it is guided by.
    has_score: whether the denoiser is a score: that of data to which noise was added that knows nothing of them.
  """

  guidance: Guidance

  @property
  def has_score(self) -> bool:
    """See the attributes."""

  def path_of(self, params: PyTree) -> Gaussian:
    """The path of a model with these parameters."""


class _Guide(NamedTuple):
  """A run, as far as it is asked."""

  family: Any
  params: PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Auto:
  """Autoguidance, `autoguided`, by an earlier run: arXiv:2406.02507.

  The guide may have another family, prediction and path: it is asked at the time at which its own path has the same
  sigma / alpha, and where its path has no such time there is no guidance. It is told what of the condition it was
  trained on, is not guided itself, and stays in its directory: it can be named when a trained model is sampled.

  Attributes:
    weight: strength of the guidance; 1 is none.
    guide: the worse run of the same data, smaller or trained for less time: dict(name="load.load", workdir="runs/...").
  """

  weight: float = 2.0
  guide: Any = part("run")

  @property
  def params(self) -> PyTree:
    """Those of the guide."""
    return self.guide.params

  def at(self, params: PyTree) -> "Auto":
    """The same with a guide of these parameters."""
    return dataclasses.replace(self, guide=_Guide(self.guide.family, params))

  @property
  def evaluations(self) -> int:
    """Network evaluations per denoising: the guide's counts like the model's."""
    return 1 if self.weight == 1.0 else 2

  def check(self, spec: Spec, conditions: tuple[str, ...], cond_dropout: float) -> None:
    """Raises InputError for a guide that does not denoise, has no score, is of other data, or has more conditions."""
    del cond_dropout
    guide = self.guide.family
    if not isinstance(guide, OnPath):
      raise InputError(f"guidance.guide: {type(guide).__name__} does not denoise: choose a run of a diffusion model")
    if not guide.has_score:
      raise InputError("guidance.guide: it was trained on coupled pairs, and has no score: choose another run")
    if guide.spec.shape != spec.shape:
      raise InputError(f"guidance.guide: its data have the shape {guide.spec.shape}, these {spec.shape}")
    unknown = set(guide.conditions) - set(conditions)
    if unknown:
      raise InputError(
        f"guidance.guide: it is conditioned on {min(unknown)!r}, which this model is not: "
        f"choose a guide with conditions={conditions}"
      )

  def __call__(self, path: Gaussian, denoise: ConditionalDenoise, cond: Cond) -> Denoise:
    """The guided denoiser; where `cond` is None, both are unconditional."""
    plain = lambda t, xt: denoise(t, xt, cond, None)
    if self.weight == 1.0:
      return plain
    family, params = self.guide.family, self.guide.params
    known = {name: cond[name] for name in family.conditions} if cond else None
    unguided = dataclasses.replace(family, guidance=classifier_free())
    its = family.path_of(params)
    low, high = reach(its)
    guided = autoguided(plain, moved(unguided.denoiser(params, known or None), its, path), self.weight)
    return _where(path, (1 - SLACK) * low, (1 + SLACK) * high, guided, plain)


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


def reach(path: Gaussian) -> Array:
  """The least and the most sigma / alpha on a path, [2]."""
  return noise_level(path, jnp.array([path.t_min, path.t_max]))


def moved(denoise: Denoise, source: Gaussian, target: Gaussian) -> Denoise:
  """A denoiser for one path as a denoiser for another, of the same data.

  With x0 + (sigma / alpha) eps on both, it is asked at the time at which `source` has the sigma / alpha that `target`
  has at t: the rescaling of arXiv:2206.00364, eq. 4, for paths with an alpha.

  Args:
    denoise: for data on `source`.
    source: alpha and sigma.
    target: alpha and sigma, of what it is to be asked.
  """

  def denoise_target(t, xt):
    time = time_at(source, half_log_snr(target, t))
    size = jnp.hypot(source.alpha(time), source.sigma(time)) / jnp.hypot(target.alpha(t), target.sigma(t))
    return denoise(time, expand(size, xt) * xt)

  return denoise_target


def _unconditional(denoise: ConditionalDenoise) -> Denoise:
  return lambda t, xt: denoise(t, xt, None, None)


def _where(path: Gaussian, low: Array | float, high: Array | float, inside: Denoise, outside: Denoise) -> Denoise:
  """`inside` where low < sigma / alpha <= high, else `outside`; for a scalar t, only one of them is called."""

  def denoise(t, xt):
    noise = noise_level(path, t)
    within = (low < noise) & (noise <= high)
    if jnp.ndim(t):
      return jnp.where(expand(within, xt), inside(t, xt), outside(t, xt))
    return jax.lax.cond(within, inside, outside, t, xt)

  return denoise


def clipped(denoise: Denoise) -> Denoise:
  """Estimates clipped to [-1, 1], the range of images: arXiv:2006.11239's sampler and most since."""
  return lambda t, xt: jnp.clip(denoise(t, xt), -1.0, 1.0)
