"""Densities of what an ordinary differential equation makes of noise, by the change of variables along its way.

  d log p(x_t) / dt = -div drift(t, x_t)   (arXiv:2011.13456, eq. 39; arXiv:1810.01367, eq. 2),

so log p at the data end is log p at the noise end plus the integral of the divergence between them. The integral is
one more coordinate of the state, a column for each estimate of the divergence, and any solver of this room carries it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gen_jax.errors import require
from gen_jax.ops.divergence import Divergence
from gen_jax.solvers.base import ODE, Problem, Solver, as_ode, check_rising, integrate, limits
from gen_jax.types import Array, Key


class Estimate(NamedTuple):
  """An estimate with its error.

  Attributes:
    value: the mean over probes, [B].
    error: its standard error over probes, [B]: 0 for an exact divergence, NaN where there is one probe alone.
  """

  value: Array
  error: Array


def log_prob(
  solver: Solver,
  problem: Problem,
  key: Key,
  x: Array,
  ts: Array,
  prior: Callable[[Array], Array],
  divergence: Divergence,
) -> Estimate:
  """log p(x) at time ts[0], in nats.

  Args:
    solver: a method for ordinary differential equations.
    problem: what it solves; a `Semilinear` is taken as its probability flow.
    key: draws the probes; and noise, if a method wants it.
    x: [B, ...], data.
    ts: rising times, from the data to the noise.
    prior: x [B, ...] -> its log density at time ts[-1], [B] nats.
    divergence: how divergences are taken.

  Raises:
    InputError: the solver is not for ordinary differential equations; fewer than two times, or times that do not rise
      or are outside those of the problem.
  """
  require(times=(len(ts), len(ts) >= 2, "at least two"))
  check_rising(ts, *limits(problem))
  key_probes, key_path = jax.random.split(key)
  probes, columns = divergence.probes(key_probes, x), divergence.columns
  drift = as_ode(problem).drift

  def augmented(t, state):
    dx, growth = divergence(lambda x: drift(t, x), _position(state, columns, x), probes)
    return jnp.concatenate([dx.reshape(len(x), -1), growth], axis=-1)

  start = jnp.concatenate([x.reshape(len(x), -1), jnp.zeros((len(x), columns), x.dtype)], axis=-1)
  end = integrate(solver, ODE(augmented), key_path, start, ts)
  values = prior(_position(end, columns, x))[:, None] + end[:, -columns:]
  error = jnp.std(values, axis=-1, ddof=1) / jnp.sqrt(columns) if divergence.random else jnp.zeros(len(x))
  return Estimate(values.mean(-1), error)


def _position(state: Array, columns: int, x: Array) -> Array:
  return state[:, :-columns].reshape(x.shape)
