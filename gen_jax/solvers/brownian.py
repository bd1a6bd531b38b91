"""Noise that different grids share, so that a path can be refined: strong convergence is measured with it."""

import jax
import jax.numpy as jnp

from gen_jax.errors import require
from gen_jax.solvers.base import SLACK, Noise
from gen_jax.types import Array, Key


def tree(key: Key, start: float, end: float, depth: int = 24) -> Noise:
  """A virtual Brownian tree on [start, end], arXiv:2001.01328: w(t) by bridges from the whole to a leaf.

  For the `noise` of a problem: `path.problem(denoise)._replace(noise=brownian.tree(key, t_min, t_max))` follows one
  Brownian path whatever the grid; the key of `integrate` is then not read. Times are scalars; outside of the interval
  it gives NaN. A step costs 2 `depth` draws, and its variance is off by a share of (end - start) / 2^depth / |s - t|.

  Args:
    key: the path.
    start: the earliest time.
    end: the latest.
    depth: number of bridges; at most 30, since a leaf's number is a 32-bit integer.

  Raises:
    InputError: another depth.
  """
  require(depth=(depth, 1 <= depth <= 30, "from 1 to 30"))

  def w(x, t):
    """w(t) - w(start), in units in which the whole has length 1."""
    draw = lambda index: jax.random.normal(jax.random.fold_in(key, index), x.shape, x.dtype)
    place = jnp.clip((t - start) / (end - start), 0.0, 1.0)

    def halve(level, node):
      index, low, w_low, w_high = node
      width = jnp.exp2(-level.astype(place.dtype))
      middle = low + width / 2
      w_middle = (w_low + w_high) / 2 + jnp.sqrt(width) / 2 * draw(index)
      right = place > middle
      choose = lambda a, b: jnp.where(right, a, b)
      return 2 * index + right, choose(middle, low), choose(w_middle, w_low), choose(w_high, w_middle)

    index, low = jnp.uint32(1), jnp.zeros_like(place)
    _, low, w_low, w_high = jax.lax.fori_loop(0, depth, halve, (index, low, jnp.zeros_like(x), draw(0)))
    value = w_low + (place - low) * 2.0**depth * (w_high - w_low)
    return jnp.where(jnp.abs((t - start) / (end - start) - 0.5) < 0.5 + SLACK, value, jnp.nan)

  def noise(_, x: Array, t: Array, s: Array) -> Array:
    return (w(x, s) - w(x, t)) / jnp.sqrt(jnp.abs(s - t) / (end - start))

  return noise
