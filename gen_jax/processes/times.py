"""How training times are drawn.

A density of times is a function (key, path, num) -> [num] times in [path.t_min, path.t_max].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.processes.gaussian import Gaussian
from gen_jax.solvers.grids import time_at
from gen_jax.types import Array, Key

Times = Callable[[Key, Gaussian, int], Array]


def uniform() -> Times:
  """Independent and uniform in t."""
  return lambda key, path, num: jax.random.uniform(key, (num,), minval=path.t_min, maxval=path.t_max)


def low_discrepancy() -> Times:
  """Each uniform in t, together evenly spread over the batch, for less noisy losses: arXiv:2107.00630, appendix I.1."""

  def times(key, path, num):
    u = (jax.random.uniform(key) + jnp.arange(num) / num) % 1.0
    return path.t_min + u * (path.t_max - path.t_min)

  return times


def lognormal(mean: float = -1.2, std: float = 1.2) -> Times:
  """log(sigma / alpha) ~ N(mean, std^2), within the path's times: arXiv:2206.00364, table 1.

  Args:
    mean: of log(sigma / alpha).
    std: of log(sigma / alpha).
  """
  return lambda key, path, num: time_at(path, -(mean + std * jax.random.normal(key, (num,))))
