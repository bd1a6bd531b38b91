"""Exponential integrators with polynomials through past noise: DEIS, and the PNDM family that it grew from.

All of them carry x from t to s by x_s / alpha(s) = x_t / alpha(t) + int eps d(ratio), ratio = sigma / alpha.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from gen_jax.errors import require
from gen_jax.ops.shapes import expand
from gen_jax.ops.slope import value_and_slope
from gen_jax.solvers.base import Solver, as_semilinear, half_log_snr, noise_level, with_eps
from gen_jax.solvers.history import empty, integrals

# What eps is a polynomial in: (its value at t, the ratio's slope there as a function of the value).
_VARIABLES = {
  "t": (lambda p, t: t, lambda p, u: value_and_slope(lambda t: noise_level(p, t), u)[1]),
  "rho": (noise_level, lambda p, u: jnp.ones_like(u)),
  "log_rho": (lambda p, t: -half_log_snr(p, t), lambda p, u: jnp.exp(u)),
}


def deis(order: int = 3, variable: Literal["t", "rho", "log_rho"] = "log_rho") -> Solver:
  """tAB-DEIS and rhoAB-DEIS: arXiv:2204.13902, section 3, whose weights are integrals of Lagrange polynomials.

  Args:
    order: number of past values; 1 is DDIM.
    variable: what eps is a polynomial in: time, sigma / alpha, or its logarithm, as most code does.

  Raises:
    InputError: an order below 1, or another variable.
  """
  known = f"one of {', '.join(_VARIABLES)}"
  require(order=(order, order >= 1, "at least 1"), variable=(variable, variable in _VARIABLES, known))
  place, slope = _VARIABLES[variable]

  def step(p, key, x, t, s, carry):
    del key
    past = carry.push(p.eps(t, x), place(p, t))
    eps, *others = past.values
    _, *weights = integrals(lambda u: slope(p, u), past.places, place(p, t), place(p, s))
    # All weights add to the change of the ratio: the newest one's is what the others leave, free of quadrature error.
    bend = sum(expand(w, x) * (v - eps) for w, v in zip(weights, others, strict=True))
    return with_eps(p, x, t, s, eps) + expand(p.alpha(s), x) * bend, past

  return Solver(step, of=as_semilinear, init=lambda x: empty(x, order), order=order)


# Adams-Bashforth weights of equal steps, for 1, 2, 3 and 4 values, newest first.
_ADAMS = ((1, 0, 0, 0), (3 / 2, -1 / 2, 0, 0), (23 / 12, -16 / 12, 5 / 12, 0), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def ipndm(order: int = 4) -> Solver:
  """Improved PNDM: PNDM with a start of lower orders instead of Runge-Kutta steps: arXiv:2204.13902 (iPNDM).

  The weights are those of equal steps, though the ratio's are not equal, so that its order is 2 whatever `order`.

  Args:
    order: number of past values, 1 to 4.

  Raises:
    InputError: another order.
  """
  require(order=(order, 1 <= order <= 4, "from 1 to 4"))

  def step(p, key, x, t, s, carry):
    del key
    past, n = carry
    past = past.push(p.eps(t, x), t)
    weights = jnp.asarray(_ADAMS[:order], x.dtype)[jnp.minimum(n, order - 1)]
    eps = sum(w * v for w, v in zip(weights, past.values, strict=False))
    return with_eps(p, x, t, s, eps), (past, n + 1)

  return Solver(step, of=as_semilinear, init=lambda x: (empty(x, order), 0), order=min(order, 2))


def _pndm(p, key, x, t, s, carry):
  """F-PNDM: arXiv:2202.09778, algorithm 2: three Runge-Kutta steps of four calls, then four past values."""
  del key
  past, n = carry
  eps = p.eps(t, x)

  def runge_kutta(_):
    m = (t + s) / 2
    e2 = p.eps(m, with_eps(p, x, t, m, eps))
    e3 = p.eps(m, with_eps(p, x, t, m, e2))
    e4 = p.eps(s, with_eps(p, x, t, s, e3))
    return (eps + 2 * e2 + 2 * e3 + e4) / 6

  past = past.push(eps, t)
  adams = lambda _: sum(w * v for w, v in zip(_ADAMS[3], past.values, strict=True))
  return with_eps(p, x, t, s, jax.lax.cond(n < 3, runge_kutta, adams, None)), (past, n + 1)


pndm = Solver(_pndm, of=as_semilinear, init=lambda x: (empty(x, 4), 0), order=2, startup=(3, 3, 3))
