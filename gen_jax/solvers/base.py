"""Problems, solvers, and the loop that joins them.

Everywhere in this room t = 0 is data and larger t is noisier. Times are arrays: scalars inside `integrate`, or [B], one
per example, where a method takes a single `step` from many places at once (distillation does).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.ops.shapes import expand
from gen_jax.types import Array, Key, PyTree


class ODE(NamedTuple):
  """dx/dt = drift(t, x).

  Attributes:
    drift: (t, x [B, ...]) -> [B, ...].
  """

  drift: Callable[[Array, Array], Array]


class SDE(NamedTuple):
  """dx = drift(t, x) dt + diffusion(t) dw, with independent noise of one scale in every coordinate.

  Attributes:
    drift: (t, x [B, ...]) -> [B, ...].
    diffusion: t -> g(t), of the shape of t.
  """

  drift: Callable[[Array, Array], Array]
  diffusion: Callable[[Array], Array]


class Semilinear(NamedTuple):
  """The way back along x_t = alpha(t) x0 + sigma(t) eps, given E[x0 | x_t]: both other problems follow from it.

  Attributes:
    alpha: t -> the scale of the data, of the shape of t.
    sigma: t -> the scale of the noise, of the shape of t.
    denoise: (t, xt [B, ...]) -> x0 [B, ...], the expectation of the data.
  """

  alpha: Callable[[Array], Array]
  sigma: Callable[[Array], Array]
  denoise: Callable[[Array, Array], Array]

  def ode(self) -> ODE:
    """The probability flow: dx/dt = alpha' x0 + sigma' eps (arXiv:2206.00364, eq. 4)."""

    def drift(t, x):
      (a, da), (s, ds) = _slope(self.alpha, t, x), _slope(self.sigma, t, x)
      x0 = self.denoise(t, x)
      return da * x0 + ds * (x - a * x0) / s

    return ODE(drift)

  def sde(self) -> SDE:
    """The reverse diffusion, to be solved from large t to small: drift f - g^2 score (arXiv:2011.13456, eq. 6).

    Here g^2 = 2 sigma^2 d/dt log(sigma / alpha), the noise of the forward process that has these alpha and sigma.
    """

    def drift(t, x):
      (a, da), (s, ds) = _slope(self.alpha, t, x), _slope(self.sigma, t, x)
      x0 = self.denoise(t, x)
      eps = (x - a * x0) / s
      half_g2_score = -(ds - s * da / a) * eps  # score = -eps / sigma
      return da * x0 + ds * eps - half_g2_score

    def diffusion(t):
      (a, da), (s, ds) = _slope(self.alpha, t, t), _slope(self.sigma, t, t)
      return jnp.sqrt(2.0 * s * (ds - s * da / a))

    return SDE(drift, diffusion)


Problem = ODE | SDE | Semilinear


class Solver(NamedTuple):
  """A one-step or multistep method.

  Attributes:
    step: (problem, key, x, t, s, carry) -> (x, carry): from time t to time s.
    of: the view of a problem that `step` reads; raises InputError for a problem that it cannot serve.
    init: (problem, x) -> the carry before the first step: what a multistep method remembers.
    order: the global error falls as (step size) ** order; for a stochastic method, the error of expectations does.
    evaluations: how often one step calls the denoiser or drift.
    stochastic: whether `step` reads its key.
  """

  step: Callable[[Any, Key, Array, Array, Array, PyTree], tuple[Array, PyTree]]
  of: Callable[[Problem], Problem]
  init: Callable[[Problem, Array], PyTree] = lambda problem, x: ()
  order: int = 1
  evaluations: int = 1
  stochastic: bool = False


def integrate(solver: Solver, problem: Problem, key: Key, x: Array, ts: Array) -> Array:
  """Carries `x` along the times `ts`, one step for each interval, as one `lax.scan`.

  Args:
    solver: the method.
    problem: what it solves.
    key: noise of stochastic methods; step n uses fold_in(key, n).
    x: [B, ...], the state at ts[0].
    ts: [N + 1] times, sorted either way.

  Returns:
    The state at ts[-1], of the shape of x.

  Raises:
    InputError: the solver does not serve this kind of problem.
  """
  problem = solver.of(problem)

  def body(state, interval):
    (x, carry), (n, t, s) = state, interval
    return solver.step(problem, jax.random.fold_in(key, n), x, t, s, carry), None

  intervals = (jnp.arange(len(ts) - 1), ts[:-1], ts[1:])
  (x, _), _ = jax.lax.scan(body, (x, solver.init(problem, x)), intervals)
  return x


def as_ode(problem: Problem) -> ODE:
  """`problem` for a solver of ordinary differential equations."""
  return problem.ode() if isinstance(problem, Semilinear) else _only(ODE, problem)


def as_sde(problem: Problem) -> SDE:
  """`problem` for a solver of stochastic differential equations."""
  return problem.sde() if isinstance(problem, Semilinear) else _only(SDE, problem)


def as_semilinear(problem: Problem) -> Semilinear:
  """`problem` for a solver that integrates its linear part exactly."""
  return _only(Semilinear, problem)


def half_log_snr(path: Any, t: Array) -> Array:
  """lambda(t) = log(alpha / sigma), of the shape of t; falls as t grows. `path` is anything that has these two."""
  return jnp.log(path.alpha(t)) - jnp.log(path.sigma(t))


def _only(kind: type, problem: Problem) -> Any:
  if not isinstance(problem, kind):
    given = type(problem).__name__
    raise InputError(f"this solver is for a {kind.__name__} problem, not for {given}: choose another solver")
  return problem


def _slope(f: Callable[[Array], Array], t: Array, x: Array) -> tuple[Array, Array]:
  """f and df/dt at t, shaped to broadcast against x."""
  value, slope = jax.jvp(f, (t,), (jnp.ones_like(t),))
  return expand(value, x), expand(slope, x)
