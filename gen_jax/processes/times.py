"""How training times are drawn.

A `Times` draws times in [path.t_min, path.t_max]. One that learns from the losses keeps what it has learned in a
`memory`, which a family carries from step to step; for all others it is ().
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gen_jax.errors import at_least, require
from gen_jax.ops.draws import systematic
from gen_jax.processes.gaussian import Gaussian
from gen_jax.solvers.grids import time_at
from gen_jax.types import Array, Key, PyTree


def _nothing() -> PyTree:
  return ()


def _forget(memory: PyTree, path: Gaussian, t: Array, loss: Array) -> PyTree:
  del path, t, loss
  return memory


class Times(NamedTuple):
  """A density of training times.

  Attributes:
    draw: (key, path, num, memory) -> (times [num], weights [num]); the weights make an average over these times one
      over the density that the method stands for, and are 1 unless it learns.
    start: () -> the memory before the first step.
    learn: (memory, path, t [num], loss [num]) -> the memory after a step whose losses at `t` were these.
  """

  draw: Callable[[Key, Any, int, PyTree], tuple[Array, Array]]
  start: Callable[[], PyTree] = _nothing
  learn: Callable[[PyTree, Any, Array, Array], PyTree] = _forget


def uniform() -> Times:
  """Independent and uniform in t."""
  return _fixed(lambda key, path, num: _at(path, jax.random.uniform(key, (num,))))


def low_discrepancy() -> Times:
  """Each uniform in t, together evenly spread over the batch, for less noisy losses: arXiv:2107.00630, appendix I.1."""
  return _fixed(lambda key, path, num: _at(path, systematic(key, num)))


def lognormal(mean: float = -1.2, std: float = 1.2) -> Times:
  """log(sigma / alpha) ~ N(mean, std^2), within the path's times: arXiv:2206.00364, table 1.

  Args:
    mean: of log(sigma / alpha).
    std: of log(sigma / alpha).

  Raises:
    InputError: a std that is not positive.
  """
  require(std=(std, std > 0, "positive"))
  return _fixed(lambda key, path, num: time_at(path, -(mean + std * jax.random.normal(key, (num,)))))


def logit_normal(mean: float = 0.0, std: float = 1.0) -> Times:
  """logit(t) ~ N(mean, std^2), t as a share of the path's times: arXiv:2403.03206, section 3.1.

  Middle times count most, where on the rectified path the velocity is hardest to tell.

  Args:
    mean: of the logit; above 0 for more noise.
    std: of the logit.

  Raises:
    InputError: a std that is not positive.
  """
  require(std=(std, std > 0, "positive"))
  return _fixed(lambda key, path, num: _at(path, jax.nn.sigmoid(mean + std * jax.random.normal(key, (num,)))))


def levels(num: int = 1000) -> Times:
  """One of `num` times, evenly spaced and equally likely: the steps of a chain. One alone is t_min.

  Args:
    num: how many: 1,000 in arXiv:2006.11239; 10 in arXiv:1907.05600, geometrically spaced as on `gaussian.ve`.

  Raises:
    InputError: none.
  """
  at_least(1, num=num)

  def times(key, path, size):
    index = jax.random.randint(key, (size,), 0, num)
    return _at(path, index / max(num - 1, 1))

  return _fixed(times)


def importance(bins: int = 64, decay: float = 0.9, floor: float = 0.01) -> Times:
  """Where losses are large: density proportional to sqrt(E[loss^2]) in t, arXiv:2102.09672, section 3.3.

  Weights undo the density, so that the mean loss is that of uniform times with less noise. The second moment of the
  losses of each part of the path is a running average; until every part has been seen, times are uniform.

  Args:
    bins: parts of equal length that the path is divided into.
    decay: of the running average, each time that a part is seen.
    floor: share of the times that stays uniform; no weight exceeds 1 / floor.

  Raises:
    InputError: no parts; a decay outside of [0, 1), or a floor outside of (0, 1].
  """
  require(bins=(bins, bins >= 1, "at least 1"), decay=(decay, 0 <= decay < 1, "in [0, 1)"))
  require(floor=(floor, 0 < floor <= 1, "in (0, 1]"))

  def density(memory):
    size = jnp.sqrt(memory["square"])
    learned = (1 - floor) * size / jnp.maximum(size.sum(), 1e-30) + floor / bins
    return jnp.where(memory["seen"].all(), learned, 1 / bins)

  def draw(key, path, num, memory):
    key_bin, key_place = jax.random.split(key)
    p = density(memory)
    index = jnp.minimum(jnp.searchsorted(jnp.cumsum(p), systematic(key_bin, num)), bins - 1)
    place = (index + jax.random.uniform(key_place, (num,))) / bins
    return _at(path, place), 1 / (bins * p[index])

  def learn(memory, path, t, loss):
    share = (t - path.t_min) / (path.t_max - path.t_min)
    index = jnp.clip((share * bins).astype(jnp.int32), 0, bins - 1)
    count = jnp.zeros(bins).at[index].add(1.0)
    square = jnp.zeros(bins).at[index].add(jnp.square(loss)) / jnp.maximum(count, 1.0)
    kept = jnp.where(memory["seen"], decay, 0.0)
    mixed = kept * memory["square"] + (1 - kept) * square
    now = count > 0
    return {"square": jnp.where(now, mixed, memory["square"]), "seen": memory["seen"] | now}

  return Times(draw, lambda: {"square": jnp.zeros(bins), "seen": jnp.zeros(bins, bool)}, learn)


def _fixed(times: Callable[[Key, Gaussian, int], Array]) -> Times:
  """A density that learns nothing."""

  def draw(key, path, num, memory):
    del memory
    return times(key, path, num), jnp.ones(num)

  return Times(draw)


def _at(path: Gaussian, share: Array) -> Array:
  """The times at these shares of the path's."""
  return path.t_min + share * (path.t_max - path.t_min)
