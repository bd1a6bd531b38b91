"""Runge-Kutta methods that choose their own steps, from diffrax: for likelihoods and continuous flows.

The error is controlled for the batch as a whole: the root mean square over all coordinates of the estimated error,
in units of atol + rtol |x|, is kept below 1. Each interval of `integrate` is
solved by itself, so that two times are enough.
"""

import diffrax
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.ops.shapes import expand
from gen_jax.solvers.base import Solver, as_ode


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


def _adaptive(method, rtol, atol, max_steps):
  for name, value in (("rtol", rtol), ("atol", atol), ("max_steps", max_steps)):
    if not value > 0:
      raise InputError(f"{name} = {value} should be positive")
  control = diffrax.PIDController(rtol=rtol, atol=atol)
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
