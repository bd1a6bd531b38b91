"""Times to step through, from the noise to where a sampler denoises once more, t_min > 0.

A grid is a function (path, num) -> [num + 1] falling times, the first path.t_max and the last path.t_min unless it says
otherwise, where `path` is anything with `alpha`, `sigma`, `t_min` and `t_max`. With no steps it is t_max alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.errors import InputError, require
from gen_jax.solvers.base import check_falling, half_log_snr
from gen_jax.types import Array

Grid = Callable[[Any, int], Array]


def lay(grid: Grid, path: Any, num: int) -> Array:
  """The [num + 1] times of `grid`: constants of the program that is being traced, unless the path is learned.

  Raises:
    InputError: times that repeat, rise or do not start at t_max; a path at an end of which log(alpha / sigma) is
      infinite, which is what networks are told of the time.
  """
  ts, endless = _laid(grid, path, num)
  if endless:
    raise InputError(
      f"path: at {path.t_min:.6g} or {path.t_max:.6g} it is all data or all noise, where log(alpha / sigma) is "
      "infinite: move its t_min or t_max inwards"
    )
  _check(ts, path)
  return ts


def span(grid: Grid, path: Any, num: int) -> Array:
  """The times of `grid` for those after whom nothing denoises: down to t_min. The path may be endless.

  Raises:
    InputError: times that repeat, rise or do not start at t_max; a grid that ends before t_min.
  """
  ts, endless = _laid(grid, path, num)
  try:
    _check(ts, path)
  except InputError as e:
    if not endless:
      raise
    raise InputError("grid: it is of log(alpha / sigma), which has no ends here: choose grids.linear") from e
  if not isinstance(ts, jax.core.Tracer) and not np.isclose(end := np.asarray(ts)[-1], path.t_min, rtol=1e-3):
    raise InputError(f"grid: it ends at t = {end:.6g}, not at {path.t_min:.6g}, and nothing denoises after it")
  return ts


def _check(ts: Array, path: Any) -> None:
  """Refuses times that do not fall from t_max; traced times pass unseen."""
  check_falling(ts)
  if not isinstance(ts, jax.core.Tracer) and not np.isclose(first := np.asarray(ts)[0], path.t_max, rtol=1e-5):
    raise InputError(f"grid: its first time is {first:.6g}, samples start from noise of t = {path.t_max:.6g}")


def _laid(grid: Grid, path: Any, num: int) -> tuple[Array, bool]:
  """The times, unchecked, and whether log(alpha / sigma) is known to be infinite at an end of the path."""
  ends = np.array([path.t_max, path.t_min])  # an argument: operations on constants would be compiled one by one
  with jax.ensure_compile_time_eval():
    ts, ratios = jax.jit(lambda ends: (grid(path, num), half_log_snr(path, ends)))(ends)
  return ts, not isinstance(ratios, jax.core.Tracer) and not np.isfinite(ratios).all()


def linear() -> Grid:
  """Evenly spaced in t."""
  return lambda path, num: jnp.linspace(path.t_max, path.t_min, num + 1)


def trailing() -> Grid:
  """Evenly spaced in t, without the last of `num` + 1 steps: it is the denoising's (arXiv:2305.08891, table 2).

  Along straight lines that ends where Euler's method ends with as many network evaluations.
  """
  return lambda path, num: jnp.linspace(path.t_max, path.t_min, num + 2)[:-1]


def quadratic() -> Grid:
  """Evenly spaced in sqrt(t): arXiv:2010.02502, appendix D.2."""
  return lambda path, num: _ends(path, jnp.linspace(path.t_max**0.5, path.t_min**0.5, num + 1) ** 2)


def rho(power: float = 7.0) -> Grid:
  """Evenly spaced in (sigma / alpha)^(1 / power): arXiv:2206.00364, eq. 5.

  Args:
    power: the larger, the more of the steps lie at little noise; `log_snr` is that of infinity, and a negative power
      puts still more of them there.

  Raises:
    InputError: a power of 0.
  """
  if not power:
    raise InputError("power = 0 makes all noise levels the same: choose another, or grids.log_snr")

  def grid(path, num):
    ends = jnp.exp(-half_log_snr(path, jnp.array([path.t_max, path.t_min])) / power)
    return _between(path, -power * jnp.log(jnp.linspace(ends[0], ends[1], num + 1)))

  return grid


def log_snr() -> Grid:
  """Evenly spaced in log(alpha / sigma), the steps of DPM-Solver: arXiv:2206.00927."""

  def grid(path, num):
    ends = half_log_snr(path, jnp.array([path.t_max, path.t_min]))
    return _between(path, jnp.linspace(ends[0], ends[1], num + 1))

  return grid


def cosine() -> Grid:
  """Evenly spaced in arctan(sigma / alpha), as even times of a cosine schedule are: arXiv:2102.09672, section 3.2."""

  def grid(path, num):
    ends = jnp.arctan(jnp.exp(-half_log_snr(path, jnp.array([path.t_max, path.t_min]))))
    return _between(path, -jnp.log(jnp.tan(jnp.linspace(ends[0], ends[1], num + 1))))

  return grid


def shifted(shift: float = 3.0) -> Grid:
  """Evenly spaced in the time of rectified flow, then noisier by `shift`: arXiv:2403.03206, section 5.3.2.

  u = sigma / (alpha + sigma) becomes shift u / (1 + (shift - 1) u): sigma / alpha is multiplied by `shift`, and log-SNR
  is less by 2 log(shift), as in arXiv:2301.11093, section 3.1.

  Args:
    shift: the square root of how many times more pixels there are than where even times are right; 1 changes nothing.

  Raises:
    InputError: a shift that is not positive.
  """
  require(shift=(shift, shift > 0, "positive"))

  def grid(path, num):
    ends = jax.nn.sigmoid(-jnp.log(shift) - half_log_snr(path, jnp.array([path.t_max, path.t_min])))
    u = jnp.linspace(ends[0], ends[1], num + 1)
    return _between(path, jnp.log1p(-u) - jnp.log(u) - jnp.log(shift))

  return grid


def times(ts: tuple[float, ...]) -> Grid:
  """These times and no others.

  Args:
    ts: falling, within the times of the path.

  Raises:
    InputError: times that repeat or do not fall; later, times outside the path's, or another number of steps.
  """
  check_falling(ts)

  def grid(path, num):
    check_falling(ts, path.t_min, path.t_max)
    if len(ts) != num + 1:
      raise InputError(f"{len(ts)} times make {len(ts) - 1} steps, not {num}: set steps={len(ts) - 1}")
    return jnp.array(ts)

  return grid


def time_at(path: Any, value: Array) -> Array:
  """The times in [t_min, t_max] at which log(alpha / sigma) is nearest to `value`, by bisection in log t."""

  def halve(_, bracket):
    low, high = bracket
    middle = (low + high) / 2
    late = half_log_snr(path, jnp.exp(middle)) < value  # the ratio falls with t
    return jnp.where(late, low, middle), jnp.where(late, middle, high)

  first = jnp.maximum(path.t_min, jnp.finfo(value.dtype).tiny)  # a path may begin at 0
  ends = (jnp.full_like(value, jnp.log(first)), jnp.full_like(value, jnp.log(path.t_max)))
  low, high = jax.lax.fori_loop(0, jnp.finfo(value.dtype).nmant + 5, halve, ends)
  return jnp.clip(jnp.exp((low + high) / 2), path.t_min, path.t_max)


def _between(path: Any, values: Array) -> Array:
  """Times of the half log-SNRs `values`, with exact ends."""
  return _ends(path, time_at(path, values))


def _ends(path: Any, ts: Array) -> Array:
  return ts.at[-1].set(path.t_min).at[0].set(path.t_max)
