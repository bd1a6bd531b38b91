"""Problems, solvers, and the loop that joins them.

Everywhere in this room t = 0 is data and larger t is noisier. Times are arrays: scalars inside `integrate`, or [B], one
per example, where a method takes a single `step` from many places at once (distillation does).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.errors import InputError
from gen_jax.ops.shapes import expand
from gen_jax.ops.slope import value_and_slope
from gen_jax.types import Array, Key, PyTree

SLACK = 1e-5  # relative: what rounding to float32 may add to a time

Noise = Callable[[Key, Array, Array, Array], Array]  # (key, x, t, s) -> (w(s) - w(t)) / sqrt|s - t|, of the shape of x


def independent(key: Key, x: Array, t: Array, s: Array) -> Array:
  """Standard normal noise, new for every step: the cheap choice, and the one unless a problem is given another."""
  del t, s
  return jax.random.normal(key, x.shape, x.dtype)


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
    noise: what drives it; `brownian.tree` gives grids of different steps the same w.
  """

  drift: Callable[[Array, Array], Array]
  diffusion: Callable[[Array], Array]
  noise: Noise = independent


class Semilinear(NamedTuple):
  """The way back along x_t = alpha(t) x0 + sigma(t) eps, given E[x0 | x_t]: both other problems follow from it.

  Attributes:
    alpha: t -> the scale of the data, of the shape of t.
    sigma: t -> the scale of the noise, of the shape of t.
    denoise: (t, xt [B, ...]) -> x0 [B, ...], the expectation of the data.
    noise: what drives stochastic methods; `brownian.tree` gives grids of different steps the same w.
    t_min: the least of its times.
    t_max: the last of them.
  """

  alpha: Callable[[Array], Array]
  sigma: Callable[[Array], Array]
  denoise: Callable[[Array, Array], Array]
  noise: Noise = independent
  t_min: float = 0.0
  t_max: float = np.inf

  def eps(self, t: Array, x: Array) -> Array:
    """The expectation of the noise in x, of the shape of x."""
    return (x - expand(self.alpha(t), x) * self.denoise(t, x)) / expand(self.sigma(t), x)

  def score(self, t: Array, x: Array) -> Array:
    """grad log q_t(x), of the shape of x: -eps / sigma (Tweedie's formula)."""
    return -self.eps(t, x) / expand(self.sigma(t), x)

  def ode(self) -> ODE:
    """The probability flow: dx/dt = alpha' x0 + sigma' eps (arXiv:2206.00364, eq. 4)."""

    def drift(t, x):
      (a, da), (s, ds) = _slope(self.alpha, t, x), _slope(self.sigma, t, x)
      rate = ds / s  # numbers first: images are read and written least
      return (da - rate * a) * self.denoise(t, x) + rate * x

    return ODE(drift)

  def sde(self) -> SDE:
    """The reverse diffusion, to be solved from large t to small: drift f - g^2 score (arXiv:2011.13456, eq. 6).

    Here g^2 = 2 sigma^2 d/dt log(sigma / alpha), the noise of the forward process that has these alpha and sigma.
    """

    def drift(t, x):
      (a, da), (s, ds) = _slope(self.alpha, t, x), _slope(self.sigma, t, x)
      rate = (2 * ds - s * da / a) / s  # the flow's, and as much more as g^2 score / 2 has: the score is -eps / sigma
      return (da - rate * a) * self.denoise(t, x) + rate * x

    def diffusion(t):
      (a, da), (s, ds) = _slope(self.alpha, t, t), _slope(self.sigma, t, t)
      return jnp.sqrt(2.0 * s * (ds - s * da / a))

    return SDE(drift, diffusion, self.noise)


Problem = ODE | SDE | Semilinear


class Solver(NamedTuple):
  """A one-step or multistep method.

  Attributes:
    step: (problem, key, x, t, s, carry) -> (x, carry): from time t to time s.
    of: the view of a problem that `step` reads; raises InputError for a problem that it cannot serve.
    init: x -> the carry before the first step: what a multistep method remembers.
    order: the global error falls as (step size) ** order; for a stochastic method, the error of expectations does. 0
      where a part of the error stays, however fine the grid. A multistep method begins with lower orders, as published:
      one of order 3 or more shows it where its first steps change little, as they do when the way starts from noise.
    evaluations: how often one step calls the denoiser or drift; 0 for an adaptive method, which calls it as needed.
    stochastic: whether `step` reads its key.
    startup: how many calls each of the first steps takes beyond `evaluations`.
    posterior: whether the noise of a step has the standard deviation of q(x_s | x_t, x0), which a learned variance
      is relative to.
  """

  step: Callable[[Any, Key, Array, Array, Array, PyTree], tuple[Array, PyTree]]
  of: Callable[[Problem], Problem]
  init: Callable[[Array], PyTree] = lambda x: ()
  order: int = 1
  evaluations: int = 1
  stochastic: bool = False
  startup: tuple[int, ...] = ()
  posterior: bool = False

  def calls(self, steps: int) -> int | None:
    """How often `steps` steps call the denoiser or drift; None where that is up to the tolerance."""
    return steps * self.evaluations + sum(self.startup[:steps]) if self.evaluations else None


def integrate(solver: Solver, problem: Problem, key: Key, x: Array, ts: Array) -> Array:
  """Carries `x` along the times `ts`, one step for each interval, as one `lax.scan`.

  Args:
    solver: the method.
    problem: what it solves.
    key: noise of stochastic methods; step n uses fold_in(key, n).
    x: [B, ...], the state at ts[0]; it is kept in the precision of `ts` if that is the higher one.
    ts: [N + 1] times, sorted either way; falling where a stochastic method solves a `Semilinear`, whose noise is that
      of the way to the data.

  Returns:
    The state at ts[-1], of the shape of x.

  Raises:
    InputError: the solver does not serve this kind of problem, times that repeat, turn back or are outside those of the
      problem, or an adaptive solver that ran out of steps. Inside compiled code the latter leaves NaN, for
      `check_finite` to find outside.
  """
  return _scan(solver, problem, key, x, ts, keep=lambda x: None)[0]


def trajectory(solver: Solver, problem: Problem, key: Key, x: Array, ts: Array) -> Array:
  """Every state that `integrate` passes through, [N + 1, B, ...]: the first is `x`, the last what it returns."""
  _, states = _scan(solver, problem, key, x, ts, keep=lambda x: x)
  return jnp.concatenate([x[None].astype(states.dtype), states])


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


def noise_level(path: Any, t: Array) -> Array:
  """sigma / alpha, the sigma of EDM on any path, of the shape of t; grows with t."""
  return path.sigma(t) / path.alpha(t)


def width(path: Any, t: Array, s: Array) -> Array:
  """h, the width of a step from t to s in lambda = log(alpha / sigma)."""
  return half_log_snr(path, s) - half_log_snr(path, t)


def with_x0(path: Any, x: Array, t: Array, s: Array, x0: Array) -> Array:
  """The probability flow from x at t to s if the data x0 in it did not change: DDIM, arXiv:2010.02502, eq. 12.

  x and x0 are [B, ...], t and s scalars or [B].
  """
  return expand(path.sigma(s) / path.sigma(t), x) * x - expand(path.alpha(s) * jnp.expm1(-width(path, t, s)), x) * x0


def with_eps(path: Any, x: Array, t: Array, s: Array, eps: Array) -> Array:
  """The probability flow from x at t to s if the noise eps in it did not change: arXiv:2206.00927, eq. 3.7.

  x and eps are [B, ...], t and s scalars or [B]. Near pure noise alpha has few digits on some paths. One ratio of it,
  in both places, loses none of the noise.
  """
  kept = path.alpha(s) / path.alpha(t)
  return expand(kept, x) * x + expand(path.sigma(s) - kept * path.sigma(t), x) * eps


def check_times(ts: Any, t_min: float = -np.inf, t_max: float = np.inf) -> None:
  """Refuses times between which no solver can step; traced times pass unseen.

  Raises:
    InputError: no times, or times that repeat, turn back, are not finite or not between `t_min` and `t_max`.
  """
  if isinstance(ts, jax.core.Tracer):
    return
  ts = np.asarray(ts)
  if ts.ndim != 1 or not len(ts):
    raise InputError(f"times of shape {ts.shape} should be a list of at least one")
  if len(bad := np.flatnonzero(~np.isfinite(ts))):
    raise InputError(f"times[{bad[0]}] = {ts[bad[0]]} is not finite")
  gaps = np.diff(ts) if ts[-1] > ts[0] else -np.diff(ts)
  wrong = np.flatnonzero(~(gaps > 0))
  if len(wrong):
    i = int(wrong[0])
    what = "repeats" if gaps[i] == 0 else "is out of order"
    raise InputError(f"times[{i + 1}] = {ts[i + 1]:.6g} {what} after {ts[i]:.6g}: times should rise or fall throughout")
  for t in (ts[0], ts[-1]):
    if not t_min * (1 - SLACK) <= t <= t_max * (1 + SLACK):
      raise InputError(f"time {t:.6g} is outside the path's times, {t_min:.6g} to {t_max:.6g}")


def check_falling(ts: Any, t_min: float = -np.inf, t_max: float = np.inf) -> None:
  """`check_times`, of times that have to go from noise to data.

  Raises:
    InputError: as `check_times` does; times that rise.
  """
  check_times(ts, t_min, t_max)
  first, last = _ends(ts)
  if first < last:
    raise InputError(f"times should fall, from noise to data, and these rise from {first:.6g} to {last:.6g}")


def check_rising(ts: Any, t_min: float = -np.inf, t_max: float = np.inf) -> None:
  """`check_times`, of times that have to go from data to noise.

  Raises:
    InputError: as `check_times` does; times that fall.
  """
  check_times(ts, t_min, t_max)
  first, last = _ends(ts)
  if first > last:
    raise InputError(f"times should rise, from data to noise, and these fall from {first:.6g} to {last:.6g}")


def limits(problem: Problem) -> tuple[float, float]:
  """The least and the last time at which a problem can be asked."""
  return (problem.t_min, problem.t_max) if isinstance(problem, Semilinear) else (-np.inf, np.inf)


def check_finite(x: Any, what: str = "the solution", *, adaptive: bool = True) -> None:
  """Refuses `what` a solver, which may have been `adaptive`, could not finish; traced values pass unseen.

  Raises:
    InputError: values that are not finite.
  """
  if not isinstance(x, jax.core.Tracer) and not np.all(np.isfinite(x)):
    ran_out = "an adaptive solver ran out of steps (raise its max_steps, or rtol and atol), or "
    raise InputError(
      f"{what} is not finite: {ran_out if adaptive else ''}the model or the solver is not finite at one of the times: "
      "choose another solver or grid, and look whether training diverged"
    )


def _scan(solver, problem, key, x, ts, keep):
  """The loop: the last state, and what `keep` takes from each one on the way."""
  if not isinstance(ts, jax.Array):
    ts = np.asarray(ts, jnp.result_type(float))
  check = check_falling if solver.stochastic and isinstance(problem, Semilinear) else check_times
  check(ts, *limits(problem))
  problem, ts = solver.of(problem), jnp.asarray(ts)
  x = x.astype(jnp.promote_types(x.dtype, ts.dtype))

  def body(state, interval):
    (x, carry), (n, t, s) = state, interval
    x, carry = solver.step(problem, jax.random.fold_in(key, n), x, t, s, carry)
    return (x, carry), keep(x)

  intervals = (jnp.arange(len(ts) - 1), ts[:-1], ts[1:])
  (x, _), kept = jax.lax.scan(body, (x, solver.init(x)), intervals)
  if not solver.evaluations:
    check_finite(x)
  return x, kept


def _ends(ts: Any) -> tuple[float, float]:
  """The first and the last time; as if they were one where they are traced."""
  return (0.0, 0.0) if isinstance(ts, jax.core.Tracer) else tuple(np.asarray(ts)[[0, -1]])


def _only(kind: type, problem: Problem) -> Any:
  if not isinstance(problem, kind):
    given = type(problem).__name__
    raise InputError(f"this solver is for a {kind.__name__} problem, not for {given}: choose another solver")
  return problem


def _slope(f: Callable[[Array], Array], t: Array, x: Array) -> tuple[Array, Array]:
  """f and df/dt at t, shaped to broadcast against x."""
  return tuple(expand(a, x) for a in value_and_slope(f, t))
