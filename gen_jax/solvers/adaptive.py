"""Runge-Kutta methods that choose their own steps, by diffrax: for likelihoods and continuous flows.

The error is controlled for the batch as a whole: the root mean square over all coordinates of the estimated error,
in units of atol + rtol |x|, is kept below 1. Each interval of `integrate` is solved by itself, so that two times are
enough. diffrax has the coefficients and chooses the steps; a step is written out here, as its own goes through the
memory of all stages at each of them.

The steps follow the errors of the last two (PI.3.4 of Soderlind, Numerical Algorithms 31 (2002)). On probability
flows, whose stiffness grows towards the data, the last one alone asks for steps of which a third are then rejected.
"""

from typing import Any

import diffrax
import jax.numpy as jnp

from gen_jax.errors import require
from gen_jax.ops.shapes import expand
from gen_jax.solvers.base import Solver, as_ode
from gen_jax.types import Array


def tsit5(rtol: float = 1e-5, atol: float = 1e-5, max_steps: int = 4096) -> Solver:
  """Tsitouras's method of order 5(4): Computers and Mathematics with Applications 62 (2011).

  A solve that runs out of steps is an InputError. Compiled code cannot raise it: there the state becomes NaN, and
  `base.check_finite` says so outside.

  Args:
    rtol: relative tolerance.
    atol: absolute tolerance.
    max_steps: most steps in one interval, rejected ones included.

  Raises:
    InputError: a tolerance or a number of steps that is not positive.
  """
  return _adaptive(diffrax.Tsit5(), rtol, atol, max_steps)


def dopri5(rtol: float = 1e-5, atol: float = 1e-5, max_steps: int = 4096) -> Solver:
  """Dormand and Prince's method of order 5(4): Journal of Computational and Applied Mathematics 6 (1980).

  Arguments and errors are those of `tsit5`.
  """
  return _adaptive(diffrax.Dopri5(), rtol, atol, max_steps)


class _WrittenOut(diffrax.AbstractAdaptiveSolver):
  """An explicit method whose last stage is at the end of the step, and so the first of the next one (FSAL).

  Attributes:
    method: diffrax's, with the coefficients.
  """

  method: diffrax.AbstractERK
  term_structure = diffrax.ODETerm
  interpolation_cls = diffrax.LocalLinearInterpolation

  def order(self, terms: diffrax.ODETerm) -> int:
    return self.method.order(terms)

  def init(self, terms: diffrax.ODETerm, t0: Array, t1: Array, y0: Array, args: None) -> Array:
    return terms.vf(t0, y0, args)

  def func(self, terms: diffrax.ODETerm, t0: Array, y0: Array, args: None) -> Array:
    return terms.vf(t0, y0, args)

  def step(
    self, terms: diffrax.ODETerm, t0: Array, t1: Array, y0: Array, args: None, solver_state: Array, made_jump: Any
  ) -> tuple[Array, Array, dict[str, Array], Array, diffrax.RESULTS]:
    h, slopes, coefficients = t1 - t0, [solver_state], self.method.tableau
    sums = lambda weights: h * sum(float(w) * k for w, k in zip(weights, slopes, strict=True) if w)
    y = y0
    for c, row in zip(coefficients.c, coefficients.a_lower, strict=True):
      y = y0 + sums(row)
      slopes.append(terms.vf(t0 + float(c) * h, y, args))
    return y, sums(coefficients.b_error), dict(y0=y0, y1=y), slopes[-1], diffrax.RESULTS.successful


def _adaptive(method, rtol, atol, max_steps):
  require(**{k: (v, v > 0, "positive") for k, v in dict(rtol=rtol, atol=atol, max_steps=max_steps).items()})
  method, control = _WrittenOut(method), diffrax.PIDController(rtol, atol, pcoeff=0.4, icoeff=0.3)
  save = diffrax.SaveAt(t1=True)

  def step(ode, key, x, t, s, carry):
    del key
    h = s - t  # every interval is [0, 1] to diffrax: times may then be [B], and fall
    term = diffrax.ODETerm(lambda u, y, _: expand(h, y) * ode.drift(t + u * h, y))
    solve = diffrax.diffeqsolve(
      term, method, 0.0, 1.0, None, x, stepsize_controller=control, saveat=save, max_steps=max_steps, throw=False
    )
    finished = solve.result == diffrax.RESULTS.successful
    return jnp.where(finished, solve.ys[0], jnp.nan), carry

  return Solver(step, of=as_ode, order=5, evaluations=0)
