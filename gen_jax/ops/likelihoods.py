"""Observation models p(x | z): what the numbers that come out of a decoder say about the data.

A config names one, such as `likelihood="likelihoods.Bernoulli"`. A decoder gives `heads` numbers for every entry of x,
as a last axis of `out`; everything here works entry by entry and broadcasts over leading axes.
"""

import dataclasses
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.ops import discretized, gaussians
from gen_jax.types import Array, Key, Spec


class Likelihood(Protocol):
  """The contract of this file.

  Attributes:
    heads: numbers that the decoder gives per entry of x.
    density: whether p is a density, also of data with levels; those of levels' masses do not compare with it.
  """

  density: ClassVar[bool]

  @property
  def heads(self) -> int: ...

  def check(self, spec: Spec) -> None:
    """Raises InputError if this says nothing sensible about such data."""

  def log_prob(self, x: Array, out: Array, levels: int) -> Array:
    """log p of every entry: x [..., *shape], out [..., *shape, heads] -> nats [..., *shape]."""

  def mean(self, out: Array) -> Array:
    """The centre of every entry: out [..., *shape, heads] -> [..., *shape]."""

  def sample(self, key: Key, out: Array, levels: int) -> Array:
    """A draw of every entry: out [..., *shape, heads] -> [..., *shape]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bernoulli:
  """Black or white: P(x = 1) = sigmoid(out), P(x = -1) = sigmoid(-out). For data of two levels."""

  heads: int = dataclasses.field(default=1, init=False)
  density: ClassVar[bool] = False

  def check(self, spec: Spec) -> None:
    """Raises InputError unless there are two levels."""
    if spec.levels != 2:
      what = f"images of {spec.levels} levels" if spec.levels else "vectors"
      raise InputError(
        f"likelihoods.Bernoulli needs two levels and the data has {what}: "
        "binarize the data or use likelihoods.DiscretizedLogistic"
      )

  def log_prob(self, x: Array, out: Array, levels: int) -> Array:
    """log sigmoid(x out), for x in {-1, 1}."""
    del levels
    return jax.nn.log_sigmoid(x * out[..., 0])

  def mean(self, out: Array) -> Array:
    """2 P(x = 1) - 1."""
    return jnp.tanh(out[..., 0] / 2)

  def sample(self, key: Key, out: Array, levels: int) -> Array:
    """-1 or 1."""
    del levels
    return 2.0 * jax.random.bernoulli(key, jax.nn.sigmoid(out[..., 0])) - 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gaussian:
  """x = mean + scale noise: a density, for vectors and for images taken as real numbers.

  Attributes:
    scale: standard deviation of every entry; None for one that the decoder gives entry by entry.
    floor: what a learned scale stays above. A density has no bound without it: an entry that never varies would be
      worth infinitely many nats.
  """

  scale: float | None = None
  floor: float = 1e-2
  density: ClassVar[bool] = True

  @property
  def heads(self) -> int:
    """The mean, and the scale where that is learned."""
    return 2 if self.scale is None else 1

  def check(self, spec: Spec) -> None:
    """Raises InputError if the scale is not positive."""
    del spec
    _positive(self)

  def log_prob(self, x: Array, out: Array, levels: int) -> Array:
    """log N(x; mean, scale^2)."""
    del levels
    return gaussians.log_prob(x, *_split(self, out))

  def mean(self, out: Array) -> Array:
    """The mean of the Gaussian."""
    return out[..., 0]

  def sample(self, key: Key, out: Array, levels: int) -> Array:
    """mean + scale noise."""
    del levels
    mean, log_scale = _split(self, out)
    return mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscretizedGaussian:
  """The mass of a Gaussian on each level of an image: a true likelihood, comparable with other discrete models.

  Attributes:
    scale: standard deviation of every entry; None for one that the decoder gives entry by entry.
    floor: what a learned scale stays above.
  """

  scale: float | None = None
  floor: float = 1e-3
  density: ClassVar[bool] = False

  @property
  def heads(self) -> int:
    """The mean, and the scale where that is learned."""
    return 2 if self.scale is None else 1

  def check(self, spec: Spec) -> None:
    """Raises InputError if the data has no levels, or the scale is not positive."""
    _leveled(self, spec)

  def log_prob(self, x: Array, out: Array, levels: int) -> Array:
    """`discretized.gaussian`."""
    return discretized.gaussian(x, *_split(self, out), levels)

  def mean(self, out: Array) -> Array:
    """The centre of the Gaussian, within [-1, 1]."""
    return jnp.clip(out[..., 0], -1.0, 1.0)

  def sample(self, key: Key, out: Array, levels: int) -> Array:
    """The level nearest to a draw from the Gaussian."""
    mean, log_scale = _split(self, out)
    return discretized.nearest(mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape), levels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscretizedLogistic(DiscretizedGaussian):
  """The mass of a logistic distribution on each level of an image (1701.05517, eq. 2): its tails are heavier."""

  def log_prob(self, x: Array, out: Array, levels: int) -> Array:
    """`discretized.logistic`."""
    return discretized.logistic(x, *_split(self, out), levels)

  def sample(self, key: Key, out: Array, levels: int) -> Array:
    """The level nearest to a draw from the logistic distribution."""
    mean, log_scale = _split(self, out)
    return discretized.nearest(mean + jnp.exp(log_scale) * jax.random.logistic(key, mean.shape), levels)


def _split(likelihood, out):
  """(mean, log scale). A learned scale is floor + something positive, and about e^raw far above the floor."""
  if likelihood.scale is not None:
    return out[..., 0], jnp.log(jnp.asarray(likelihood.scale))
  mean, raw = _apart(out)
  low = jnp.log(likelihood.floor)
  return mean, low + jax.nn.softplus(raw - low)


@jax.custom_jvp
def _apart(out):
  """(out[..., 0], out[..., 1]), whose gradients are put together as vectors.

  Of two slices XLA's CPU compiler makes a branch, computes the gradient of one or the other in it, and takes entry
  after entry: ten times as long where those gradients are not simple.
  """
  return out[..., 0], out[..., 1]


@_apart.defjvp
def _(primals, tangents):
  (out,), (change,) = primals, tangents
  return _apart(out), tuple(jnp.where(jnp.arange(2) == i, change, 0).sum(-1) for i in range(2))


def _positive(likelihood):
  for name in ("scale", "floor"):
    value = getattr(likelihood, name)
    if value is not None and value <= 0:
      raise InputError(f"likelihoods.{type(likelihood).__name__}: {name} = {value} should be positive")


def _leveled(likelihood, spec):
  _positive(likelihood)
  if spec.levels < 2:
    raise InputError(f"likelihoods.{type(likelihood).__name__} is for images with levels: use likelihoods.Gaussian")
