"""From data to the noise that a deterministic solver makes it from, and ways between two data."""

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, require
from gen_jax.solvers.base import Problem, Solver, check_falling, integrate
from gen_jax.types import Array


def invert(solver: Solver, problem: Problem, x: Array, ts: Array) -> Array:
  """The noise at ts[0] that `integrate` carries along `ts` to `x`: arXiv:2010.02502, section 5.4.

  Args:
    solver: deterministic. The way back is exact up to the solver's own error.
    problem: what it solves.
    x: [B, ...], the state at ts[-1].
    ts: [N + 1], the times of sampling, falling.

  Raises:
    InputError: a stochastic solver; fewer than two times, or times that do not fall.
  """
  if solver.stochastic:
    raise InputError("a stochastic solver cannot be run backwards: choose a deterministic one, such as edm.heun")
  require(times=(len(ts), len(ts) >= 2, "at least two"))
  check_falling(ts)
  return integrate(solver, problem, jax.random.key(0), x, ts[::-1])


def interpolate(solver: Solver, problem: Problem, x: Array, y: Array, shares: Array, ts: Array) -> Array:
  """Data between `x` and `y`: both are inverted, their noise is mixed on a sphere, and the mixtures are integrated.

  arXiv:2010.02502, section 5.3.

  Args:
    solver: deterministic.
    problem: what it solves.
    x: [...], one example, the state at ts[-1].
    y: another.
    shares: [K], how far on the way to `y`: 0 is x, 1 is y.
    ts: [N + 1], the times of sampling, falling.

  Returns:
    [K, ...].

  Raises:
    InputError: a stochastic solver.
  """
  a, b = invert(solver, problem, jnp.stack([x, y]), ts)
  mixed = jax.vmap(lambda share: slerp(a, b, share))(shares)
  return integrate(solver, problem, jax.random.key(0), mixed, ts)


def slerp(x: Array, y: Array, share: Array) -> Array:
  """(sin((1 - share) angle) x + sin(share angle) y) / sin(angle): arXiv:2010.02502, appendix D.5."""
  cosine = jnp.vdot(x, y) / jnp.linalg.norm(x) / jnp.linalg.norm(y)
  angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
  straight = angle < 1e-3  # there the sines lose precision, and the arc is a line
  safe = jnp.where(straight, 1.0, angle)
  of_x = jnp.where(straight, 1 - share, jnp.sin((1 - share) * safe) / jnp.sin(safe))
  of_y = jnp.where(straight, share, jnp.sin(share * safe) / jnp.sin(safe))
  return of_x * x + of_y * y
