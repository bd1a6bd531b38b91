"""Times to step through, from the noise to t_min > 0, where a sampler denoises once more.

A grid is a function (path, num) -> [num + 1] falling times, the first path.t_max and the last path.t_min, where `path`
is anything with `alpha`, `sigma`, `t_min` and `t_max`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax.solvers.base import half_log_snr
from gen_jax.types import Array

Grid = Callable[[Any, int], Array]


def linear() -> Grid:
  """Evenly spaced in t."""
  return lambda path, num: jnp.linspace(path.t_max, path.t_min, num + 1)


def rho(power: float = 7.0) -> Grid:
  """Evenly spaced in (sigma / alpha)^(1 / power): arXiv:2206.00364, eq. 5.

  Args:
    power: the larger, the more of the steps lie at little noise.
  """

  def grid(path, num):
    ends = jnp.exp(-half_log_snr(path, jnp.array([path.t_max, path.t_min])) / power)
    return _between(path, -power * jnp.log(jnp.linspace(ends[0], ends[1], num + 1)))

  return grid


def log_snr() -> Grid:
  """Evenly spaced in log(alpha / sigma), which is what DPM-Solver is analysed for: arXiv:2206.00927, section 4."""

  def grid(path, num):
    ends = half_log_snr(path, jnp.array([path.t_max, path.t_min]))
    return _between(path, jnp.linspace(ends[0], ends[1], num + 1))

  return grid


def time_at(path: Any, value: Array) -> Array:
  """The times in [t_min, t_max] at which log(alpha / sigma) is nearest to `value`, by bisection in log t."""

  def halve(_, bracket):
    low, high = bracket
    middle = (low + high) / 2
    late = half_log_snr(path, jnp.exp(middle)) < value  # the ratio falls with t
    return jnp.where(late, low, middle), jnp.where(late, middle, high)

  ends = (jnp.full_like(value, jnp.log(path.t_min)), jnp.full_like(value, jnp.log(path.t_max)))
  low, high = jax.lax.fori_loop(0, jnp.finfo(value.dtype).nmant + 5, halve, ends)
  return jnp.clip(jnp.exp((low + high) / 2), path.t_min, path.t_max)


def _between(path: Any, values: Array) -> Array:
  """Times of the half log-SNRs `values`, with exact ends."""
  return time_at(path, values).at[0].set(path.t_max).at[-1].set(path.t_min)
