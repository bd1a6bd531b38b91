"""Predictors and correctors through past estimates of x0: UniPC, and SA-Solver, which adds noise.

Both correct the state at t with the estimate that was made there, then predict the state at s: one call a step. At the
last time of a grid the prediction stands, since its estimate is not made.
"""

import math
from typing import Literal, NamedTuple

import jax.numpy as jnp

from gen_jax.errors import at_least, require
from gen_jax.ops.shapes import expand
from gen_jax.solvers.base import Solver, as_semilinear, half_log_snr, noise_level
from gen_jax.solvers.history import History, empty, integrals, unfelt
from gen_jax.types import Array

_SIZES = {"h": lambda h: h, "expm1": lambda h: -jnp.expm1(-h)}  # B(h) of UniPC; x0 is predicted: B(-h)


class _Carry(NamedTuple):
  """Past estimates, and where the last prediction started; `first` until there has been one."""

  past: History
  x: Array
  t: Array
  z: Array
  first: Array


def unipc(order: int = 3, b: Literal["h", "expm1"] = "expm1") -> Solver:
  """UniPC-p, predicting x0 and corrected at every step: arXiv:2302.04867, algorithms 1 and 2.

  Its linear system asks that polynomials through the differences be integrated exactly, and B(h) cancels. Left to
  B(h) is a lone difference, whose coefficient the method sets to 1/2: the predictor's of p = 2, the corrector's of 1.

  Args:
    order: p, the number of values that the predictor reads; the corrector reads one more, and raises the order by one.
    b: B(h) = h ("bh1" elsewhere) or e^h - 1 ("bh2").

  Raises:
    InputError: an order below 1, or another b.
  """
  require(order=(order, order >= 1, "at least 1"), b=(b, b in _SIZES, " or ".join(_SIZES)))
  return _adams(order, order, 0.0, _SIZES[b])


def sa_solver(
  predictor: int = 3,
  corrector: int = 3,
  tau: float = 1.0,
  b: Literal["h"] | None = None,
  s_min: float = 0.0,
  s_max: float | None = None,
) -> Solver:
  """SA-Solver, predicting x0, with a tau that is constant on an interval: arXiv:2309.05019, algorithm 1.

  x_s = sigma(s) / sigma(t) e^(-tau^2 h) x_t
  + sigma(s) int (1 + tau^2) e^(lambda - tau^2 (lambda(s) - lambda)) x0 dlambda
  + sigma(s) sqrt(1 - e^(-2 tau^2 h)) z, with a polynomial through past x0; the corrector meets the same z again.

  Args:
    predictor: number of values that the predictor reads.
    corrector: number of past values that the corrector reads beside the new one; 0 for no corrector.
    tau: 0 is the probability flow, 1 the reverse diffusion.
    b: what a lone difference weighs: None for its exact integral, as published; "h" for UniPC's, as the authors' code
      has it for few steps.
    s_min: tau is 0 in steps that begin where sigma / alpha is below this.
    s_max: and where it is above this; None for no limit.

  Raises:
    InputError: no value for the predictor, a negative number of values or tau, another b, or no noise level between
      s_min and s_max.
  """
  high = math.inf if s_max is None else s_max
  at_least(1, predictor=predictor)
  at_least(0, corrector=corrector, tau=tau)
  require(b=(b, b in (None, "h"), "h or None"), s_min=(s_min, s_min < high, f"below s_max = {s_max}"))
  return _adams(predictor, corrector, tau, _SIZES[b] if b else None, s_min, high)


def _adams(predictor, corrector, tau, size=None, low=0.0, high=math.inf):
  """The solver of `sa_solver`; `size` is B(h) where a lone difference has its weight from it."""

  def tau_of(p, t):
    """That of a step which begins at t, of the shape of t."""
    level = noise_level(p, t)
    return jnp.where((low <= level) & (level <= high), tau, 0.0)

  def step(p, key, x, t, s, carry):
    x0, now, seen = p.denoise(t, x), half_log_snr(p, t), x  # a learned variance is of what the network saw
    if corrector:
      (f, *fs), (u, *us) = (v[:corrector] for v in carry.past)
      x_from, t_from = jnp.where(carry.first, x, carry.x), jnp.where(carry.first, t, carry.t)  # no way, no change
      x = _move(p, x_from, t_from, t, History((f, x0, *fs), (u, now, *us)), tau_of(p, t_from), size) + carry.z
    past = carry.past.push(x0, now)
    z = jnp.zeros_like(x)
    if tau:
      fresh = -jnp.expm1(2 * tau_of(p, t) ** 2 * (now - half_log_snr(p, s)))
      z = expand(p.sigma(s) * jnp.sqrt(fresh), x) * p.noise(key, seen, t, s)
    ahead = _move(p, x, t, s, History(*(v[:predictor] for v in past)), tau_of(p, t), size) + z
    return ahead, _Carry(past, x, t, z, jnp.zeros_like(carry.first))

  def init(x):
    zeros = jnp.zeros_like(x)
    return _Carry(empty(x, max(predictor, corrector)), zeros, jnp.zeros((), x.dtype), zeros, jnp.array(True))

  order = 1 if tau else max(predictor, corrector + 1 if corrector else 0)
  posterior = tau == 1.0 and low <= 0 and high == math.inf
  return Solver(step, of=as_semilinear, init=init, order=order, stochastic=tau > 0, posterior=posterior)


def _move(p, x, t, s, values, tau, size):
  """From t to s without noise, x0 being the polynomial through `values`, the first of which is that at t."""
  (f, *others), places = values
  start, end = half_log_snr(p, t), half_log_snr(p, s)
  h = end - start
  square = (tau**2)[..., None]
  kernel = lambda u: (1 + square) * p.sigma(s)[..., None] * jnp.exp(u - square * (end[..., None] - u))
  weights = integrals(kernel, places, start, end)[1:]
  if size and others:
    lone = len(others) == 1 or unfelt(places[2])
    half = (1 + tau**2) * p.alpha(s) * size(h) / 2 * h  # of the difference over h
    weights[0] = jnp.where(lone, half / (places[1] - places[0]), weights[0])
  kept = p.sigma(s) / p.sigma(t) * jnp.exp(-(tau**2) * h)
  told = -p.alpha(s) * jnp.expm1(-(1 + tau**2) * h)  # what all weights add to
  bend = sum(expand(w, x) * (v - f) for w, v in zip(weights, others, strict=True))
  return expand(kept, x) * x + expand(told, x) * f + bend
