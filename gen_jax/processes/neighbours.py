"""Pairs of times s < t of one trajectory at which a consistency model has to agree, and how training joins them.

Levels of noise are those of EDM, sigma / alpha, whatever the path; level i of N is (arXiv:2303.01469, section 4)

  (a^(1 / rho) + (i - 1) / (N - 1) (b^(1 / rho) - a^(1 / rho)))^rho,  a and b the least and the most on the path.

The number of levels is a traced number: one program serves all of a curriculum.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri

from gen_jax.errors import at_least
from gen_jax.processes.gaussian import Gaussian
from gen_jax.solvers.base import noise_level
from gen_jax.solvers.grids import time_at
from gen_jax.types import Array, Key

_RHO = 7.0


def _constant(step: Array) -> Array:
  return jnp.ones_like(step, jnp.float32)


class Neighbours(NamedTuple):
  """A density of pairs of times.

  Attributes:
    draw: (key, path, num, step) -> (t [num], s [num]) with path.t_min <= s < t <= path.t_max.
    coarse: step -> N at the start of training over N now, with which the decay of a target's moving average is tuned.
  """

  draw: Callable[[Key, Any, int, Array], tuple[Array, Array]]
  coarse: Callable[[Array], Array] = _constant


# weight(path, t, s) of a pair, of the shape of t
PairWeight = Callable[[Gaussian, Array, Array], Array]


def unit() -> PairWeight:
  """1: arXiv:2303.01469."""
  return lambda path, t, s: jnp.ones_like(t)


def inverse() -> PairWeight:
  """One over the difference of their noise levels, sigma / alpha: arXiv:2310.14189, section 3.1."""
  return lambda path, t, s: 1 / (noise_level(path, t) - noise_level(path, s))


def levels(num: int = 18) -> Neighbours:
  """Adjacent ones of `num` levels, all equally likely: arXiv:2303.01469, algorithm 2.

  Args:
    num: how many levels.

  Raises:
    InputError: fewer than two levels.
  """
  at_least(2, num=num)

  def draw(key, path, size, step):
    del step
    return _adjacent(path, num, jax.random.randint(key, (size,), 1, num))

  return Neighbours(draw)


def growing(total: int, first: int = 2, last: int = 150) -> Neighbours:
  """Adjacent levels, ever more of them: arXiv:2303.01469, appendix C, where consistency training is from scratch.

  N = ceil(sqrt(k / K ((last + 1)^2 - first^2) + first^2) - 1) + 1 at step k of K.

  Args:
    total: K, the steps of training.
    first: s_0, the levels at the start.
    last: s_1, about the levels at the end, less one.

  Raises:
    InputError: no steps, or a number of levels that makes no pair.
  """
  at_least(1, total=total)
  at_least(2, first=first)
  at_least(first, last=last)

  def number(step):
    share = jnp.minimum(step / total, 1.0)
    return jnp.ceil(jnp.sqrt(share * ((last + 1) ** 2 - first**2) + first**2) - 1).astype(jnp.int32) + 1

  def draw(key, path, size, step):
    num = number(step)
    return _adjacent(path, num, jax.random.randint(key, (size,), 1, num))

  return Neighbours(draw, lambda step: first / number(step))


def doubling(total: int, first: int = 10, last: int = 1280, mean: float = -1.1, std: float = 2.0) -> Neighbours:
  """Adjacent levels whose number doubles, most of them of little noise: arXiv:2310.14189, sections 3.4 and 3.5.

  N = min(first 2^floor(k / K'), last) + 1 with K' = floor(K / (log2 floor(last / first) + 1)). A pair of levels is as
  likely as a log-normal noise level is to fall between them.

  Args:
    total: K, the steps of training.
    first: s_0, the pairs at the start.
    last: s_1, the pairs at the end.
    mean: of the log of the noise level.
    std: of the log of the noise level.

  Raises:
    InputError: numbers of steps or of levels that make no curriculum.
  """
  at_least(1, total=total, first=first)
  at_least(first, last=last)
  doublings = math.log2(last // first)
  each = max(int(total / (doublings + 1)), 1)

  def number(step):
    return jnp.minimum(first * 2 ** jnp.minimum(step // each, math.ceil(doublings)), last) + 1

  def draw(key, path, size, step):
    num = number(step)
    ends = (jnp.log(noise_level(path, jnp.asarray([path.t_min, path.t_max]))) - mean) / std
    low, high = ndtr(ends)
    noise = jnp.exp(mean + std * ndtri(low + (high - low) * jax.random.uniform(key, (size,))))
    a, b = jnp.exp((ends * std + mean) / _RHO)
    share = (noise ** (1 / _RHO) - a) / (b - a)
    return _adjacent(path, num, jnp.clip(jnp.ceil(share * (num - 1)).astype(jnp.int32), 1, num - 1))

  return Neighbours(draw, lambda step: (first + 1) / number(step))


def tuning(
  total: int, stages: int = 8, q: float = 2.0, k: float = 8.0, b: float = 1.0, mean: float = -1.1, std: float = 2.0
) -> Neighbours:
  """Any two levels, ever closer: easy consistency tuning, arXiv:2406.14548, section 3.

  r = t (1 - (1 + k / (1 + exp(b t))) / q^n) at stage n, cut off at the least noise: at first most pairs are of noise
  and data, on which a consistency model is a diffusion model.

  Args:
    total: steps of training.
    stages: how many stages of equal length there are.
    q: by which the relative distance shrinks from stage to stage.
    k: how much farther apart pairs of little noise are.
    b: how soon, as noise grows, they no longer are.
    mean: of the log of t.
    std: of the log of t.

  Raises:
    InputError: no steps or no stages.
  """
  at_least(1, total=total, stages=stages)
  each = max(total // stages, 1)

  def draw(key, path, size, step):
    low, high = noise_level(path, jnp.asarray([path.t_min, path.t_max]))
    t = jnp.clip(jnp.exp(mean + std * jax.random.normal(key, (size,))), 1.001 * low, high)
    stage = jnp.minimum(step // each, stages - 1) + 1
    r = jnp.maximum(t * (1 - (1 + k * jax.nn.sigmoid(-b * t)) / q**stage), low)
    return _times(path, t), _times(path, r)

  return Neighbours(draw, lambda step: q ** -jnp.minimum(step // each, stages - 1).astype(jnp.float32))


def _adjacent(path: Gaussian, num: Array, i: Array) -> tuple[Array, Array]:
  """The times of levels i + 1 and i, 1 <= i < num."""
  a, b = noise_level(path, jnp.asarray([path.t_min, path.t_max])) ** (1 / _RHO)
  level = lambda i: (a + (i - 1) / (num - 1) * (b - a)) ** _RHO
  t, s = _times(path, level(i + 1)), _times(path, level(i))
  return jnp.where(i + 1 == num, path.t_max, t), jnp.where(i == 1, path.t_min, s)


def _times(path: Gaussian, level: Array) -> Array:
  return time_at(path, -jnp.log(level))
