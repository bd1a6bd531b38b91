"""Densities in the plane: skeletons of points or curves, smeared with Gaussian noise; and a checkerboard.

A smeared skeleton draws a part k uniformly, a place t on it uniformly in [0, 1], and x = skeleton(k, t) + std * noise.
Its density is the average over k of an integral over t, which is done by Gauss-Legendre quadrature: exact to rounding
where the parts are points, and to about 1e-6 where they are curves.
"""

import abc
import dataclasses
import functools
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.data.base import Arrays, Split, SplitName, pick
from gen_jax.errors import at_least, require
from gen_jax.types import Array, Batch, Key, Spec

_SEED = 20  # of the rows of every data set here


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plane(abc.ABC):
  """Base of sources of 2-D vectors: a finite set of rows, drawn once from a fixed seed.

  Attributes:
    num_train: number of training rows.
    num_test: number of test rows.

  Raises:
    InputError: fewer than two rows, which cannot be scored, or a density that there is not.
  """

  num_train: int = 50_000
  num_test: int = 10_000

  classes: ClassVar[int] = 0

  def __post_init__(self):
    at_least(2, num_train=self.num_train, num_test=self.num_test)

  @property
  def spec(self) -> Spec:
    return Spec(shape=(2,), kind="vector", classes=self.classes)

  @abc.abstractmethod
  def draw(self, rng: np.random.Generator, num: int) -> dict[str, np.ndarray]:
    """`num` fresh rows."""

  def split(self, name: SplitName) -> Split:
    """Rows of one split."""
    return pick(self._splits, name)

  def prepare(self, key: Key, raw: Batch, training: bool) -> Batch:
    """The rows as they are."""
    del key, training
    return dict(raw)

  @functools.cached_property
  def _splits(self) -> dict[str, Split]:
    sizes = {"train": self.num_train, "test": self.num_test}
    rows = lambda i, num: self.draw(np.random.default_rng((_SEED, i)), num)
    return {name: Arrays(**rows(i, num)) for i, (name, num) in enumerate(sizes.items())}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Smeared(Plane):
  """Base of noisy skeletons. The label of a row is the part that it came from.

  Attributes:
    std: standard deviation of the noise, in each direction.
  """

  std: float = 0.1

  nodes: ClassVar[int] = 1  # of the quadrature along one part; 1 where the parts are points
  parts: ClassVar[int]  # number of points or curves

  def __post_init__(self):
    super().__post_init__()
    require(std=(self.std, 0 < self.std < math.inf, "positive"))

  @property
  def classes(self) -> int:
    return self.parts if self.parts > 1 else 0

  @abc.abstractmethod
  def skeleton(self, part: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The point [..., 2] at t in [0, 1] of a part."""

  def draw(self, rng: np.random.Generator, num: int) -> dict[str, np.ndarray]:
    part = rng.integers(self.parts, size=num)
    x = self.skeleton(part, rng.random(num)) + self.std * rng.standard_normal((num, 2))
    label = {"label": part.astype(np.int32)} if self.classes else {}
    return {"x": x.astype(np.float32), **label}

  def log_prob(self, x: Array) -> Array:
    """log p(x), [B] nats, for x [B, 2]."""
    centres, log_weight = self._mixture
    blocks = lambda x: jax.nn.logsumexp(log_weight - 0.5 * ((x - centres) ** 2).sum(-1) / self.std**2)
    return jax.lax.map(blocks, x, batch_size=4096) - jnp.log(2 * jnp.pi * self.std**2)

  def entropy(self) -> float:
    """-E log p(x) in nats, by a sum over a grid fine enough for the noise: correct to about 1e-5."""
    centres, _ = self._mixture
    step = self.std / 3
    axes = [np.arange(c.min() - 8 * self.std, c.max() + 8 * self.std, step) for c in centres.T]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2).astype(np.float32)
    log_p = np.asarray(jax.jit(self.log_prob)(grid), np.float64)
    return float(-(np.exp(log_p) * log_p).sum() * step**2)

  @functools.cached_property
  def _mixture(self) -> tuple[np.ndarray, np.ndarray]:
    """The density as a mixture of Gaussians: centres [M, 2] and log weights [M]."""
    t, weight = np.polynomial.legendre.leggauss(self.nodes)
    part, t = np.meshgrid(np.arange(self.parts), (t + 1) / 2, indexing="ij")
    weight = np.tile(weight / 2 / self.parts, self.parts)
    centres = self.skeleton(part.ravel(), t.ravel())
    return centres.astype(np.float32), np.log(weight).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ring(Smeared):
  """Gaussians at equal distances on a circle.

  Attributes:
    modes: how many.
    radius: radius of the circle.
  """

  modes: int = 8
  radius: float = 1.0

  def __post_init__(self):
    super().__post_init__()
    at_least(1, modes=self.modes)
    require(radius=(self.radius, 0 <= self.radius < math.inf, "at least 0"))

  @property
  def parts(self) -> int:
    return self.modes

  def skeleton(self, part, t):
    return self.radius * _polar(2 * np.pi * part / self.modes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EightGaussians(Ring):
  """The eight Gaussians of arXiv 1810.01367: radius 4 and std 0.5, all divided by sqrt 2."""

  radius: float = 4 / 2**0.5
  std: float = 0.5 / 2**0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoMoons(Smeared):
  """Two half circles of radius 1 that reach into each other, centred."""

  parts = 2
  nodes = 200

  def skeleton(self, part, t):
    upper = _polar(np.pi * t)
    return np.where(part[..., None] == 0, upper, np.array([1.0, 0.5]) - upper) - np.array([0.5, 0.25])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spirals(Smeared):
  """Two arms of 1.5 turns that start at the centre and end at radius 1."""

  std: float = 0.03

  parts = 2
  nodes = 600

  def skeleton(self, part, t):
    radius = np.sqrt(t)  # as many points per area at the rim as at the centre
    return radius[..., None] * _polar(3 * np.pi * radius + np.pi * part)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SwissRoll(Smeared):
  """One arm of 1.5 turns between the radii 1/3 and 1."""

  std: float = 0.03

  parts = 1
  nodes = 400

  def skeleton(self, part, t):
    turns = 0.75 + 1.5 * t
    return (turns / 2.25)[..., None] * _polar(2 * np.pi * turns)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkerboard(Plane):
  """Uniform over the black squares of a board that covers [-1, 1]^2.

  Attributes:
    squares: along each side of the board; even.
  """

  squares: int = 4

  def __post_init__(self):
    super().__post_init__()
    require(squares=(self.squares, self.squares >= 2 and self.squares % 2 == 0, "an even number"))

  def draw(self, rng: np.random.Generator, num: int) -> dict[str, np.ndarray]:
    row = rng.integers(self.squares, size=num)
    column = 2 * rng.integers(self.squares // 2, size=num) + row % 2
    corner = np.stack([column, row], -1)
    return {"x": ((corner + rng.random((num, 2))) * 2 / self.squares - 1).astype(np.float32)}

  def log_prob(self, x: Array) -> Array:
    """log p(x), [B] nats; minus infinity on white squares and off the board."""
    cell = jnp.floor((x + 1) * self.squares / 2)
    black = (cell.sum(-1) % 2 == 0) & (jnp.abs(x) < 1).all(-1)
    return jnp.where(black, -jnp.log(2.0), -jnp.inf)

  def entropy(self) -> float:
    """The logarithm of the black area, 2."""
    return float(np.log(2.0))


def _polar(angle: np.ndarray) -> np.ndarray:
  return np.stack([np.cos(angle), np.sin(angle)], -1)
