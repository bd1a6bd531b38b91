"""Explicit Runge-Kutta methods, each one a Butcher tableau."""

from gen_jax.ops.shapes import expand
from gen_jax.solvers.base import Solver, as_ode


def _runge_kutta(a: tuple[tuple[float, ...], ...], b: tuple[float, ...], order: int) -> Solver:
  """The method with stage coefficients `a` (the rows below the first) and weights `b`.

  k_i = drift(t + c_i h, x + h sum_j a_ij k_j) with c_i = sum_j a_ij; x(t + h) = x + h sum_i b_i k_i.
  """

  def step(ode, key, x, t, s, carry):
    del key
    h, ks = s - t, []
    for row in ((), *a):
      ks.append(ode.drift(t + sum(row) * h, x + expand(h, x) * _dot(row, ks)))
    return x + expand(h, x) * _dot(b, ks), carry

  return Solver(step, of=as_ode, order=order, evaluations=len(b))


def _dot(weights, ks):
  return sum(w * k for w, k in zip(weights, ks, strict=True) if w)


euler = _runge_kutta((), (1.0,), order=1)
midpoint = _runge_kutta(((1 / 2,),), (0.0, 1.0), order=2)
heun = _runge_kutta(((1.0,),), (1 / 2, 1 / 2), order=2)
ralston = _runge_kutta(((2 / 3,),), (1 / 4, 3 / 4), order=2)
rk4 = _runge_kutta(((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), order=4)
