"""Solvers that integrate the linear part exactly and approximate only the denoiser.

lambda = log(alpha / sigma) throughout and h = lambda(s) - lambda(t). Between t and s the probability flow is

  x_s = sigma(s) / sigma(t) x_t + sigma(s) int e^lambda x0 dlambda     (arXiv:2211.01095, proposition 4.1)
      = alpha(s) / alpha(t) x_t - alpha(s) int e^-lambda eps dlambda   (arXiv:2206.00927, proposition 3.1),

and methods differ in the polynomial that they put for x0 or eps.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from gen_jax.errors import require
from gen_jax.ops.shapes import expand
from gen_jax.solvers.base import Solver, as_semilinear, half_log_snr, width, with_eps, with_x0
from gen_jax.solvers.history import History, empty, integrals

Kind = Literal["midpoint", "taylor"]  # diffusers calls the second one "heun"
_KINDS = get_args(Kind)


def ddim(eta: float = 0.0) -> Solver:
  """DDIM: arXiv:2010.02502, eqs. 12 and 16, for any alpha and sigma.

  x_s = alpha(s) x0 + sigma(s) (sqrt(1 - eta^2 (1 - r)) eps + eta sqrt(1 - r) z), with z fresh noise and r = exp(-2 h).

  Args:
    eta: 0 is deterministic and solves the probability flow; 1 draws from the posterior, as DDPM does.

  Raises:
    InputError: an eta that is not in [0, 1].
  """
  require(eta=(eta, 0 <= eta <= 1, "in [0, 1]"))

  def step(p, key, x, t, s, carry):
    x0, fresh = p.denoise(t, x), expand(_fresh(p, t, s), x)
    eps = (x - expand(p.alpha(t), x) * x0) / expand(p.sigma(t), x)
    if eta:
      noise = p.noise(key, x, t, s)
      eps = jnp.sqrt(1.0 - eta**2 * fresh) * eps + eta * jnp.sqrt(fresh) * noise
    return expand(p.alpha(s), x) * x0 + expand(p.sigma(s), x) * eps, carry

  return Solver(step, of=as_semilinear, order=1, stochastic=eta > 0, posterior=eta == 1.0)


def _ancestral(p, key, x, t, s, carry):
  """A draw from q(x_s | x_t, x0): arXiv:2006.11239, eqs. 6 and 7, for any alpha and sigma."""
  x0, fresh = p.denoise(t, x), _fresh(p, t, s)
  of_x0 = p.alpha(s) * fresh
  of_xt = p.alpha(t) * p.sigma(s) ** 2 / (p.alpha(s) * p.sigma(t) ** 2)
  std = p.sigma(s) * jnp.sqrt(fresh)
  noise = p.noise(key, x, t, s)
  return expand(of_x0, x) * x0 + expand(of_xt, x) * x + expand(std, x) * noise, carry


ancestral = Solver(_ancestral, of=as_semilinear, order=1, stochastic=True, posterior=True)


def _dpm_1(p, key, x, t, s, carry):
  """DPM-Solver-1: arXiv:2206.00927, eq. 3.7. It is DDIM, written with eps."""
  del key
  return with_eps(p, x, t, s, p.eps(t, x)), carry


dpm_1 = Solver(_dpm_1, of=as_semilinear, order=1)


def dpm_2s(kind: Kind = "midpoint", r: float = 1 / 2) -> Solver:
  """DPM-Solver-2: arXiv:2206.00927, algorithm 4; with r = 1/2 algorithm 1.

  Args:
    kind: eps is all the way what it is half way, on the line through both evaluations, or it is that line ("taylor").
    r: where in a step the second evaluation is, as a share of its width in lambda.

  Raises:
    InputError: another kind, or an r that is not in (0, 1].
  """
  require(kind=(kind, kind in _KINDS, " or ".join(_KINDS)), r=(r, 0 < r <= 1, "in (0, 1]"))

  def step(p, key, x, t, s, carry):
    del key
    eps = p.eps(t, x)
    m = _time_between(p, t, s, r)
    rise = (p.eps(m, with_eps(p, x, t, m, eps)) - eps) / r
    if kind == "midpoint":
      return with_eps(p, x, t, s, eps + rise / 2), carry
    return with_eps(p, x, t, s, eps) + expand(p.sigma(s) * _lag(width(p, t, s)), x) * rise, carry

  return Solver(step, of=as_semilinear, order=2, evaluations=2)


def dpm_3s(kind: Kind = "midpoint", r: float = 1 / 3) -> Solver:
  """DPM-Solver-3: arXiv:2206.00927, algorithm 5 with r2 = 2/3, as order 3 wants it; with r = 1/3 algorithm 2.

  Args:
    kind: eps is the line through the first and the third evaluation, or the parabola through all ("taylor").
    r: where in a step the second evaluation is, as a share of its width in lambda; the third is at two thirds.

  Raises:
    InputError: another kind, or an r that is not in (0, 2/3).
  """
  require(kind=(kind, kind in _KINDS, " or ".join(_KINDS)), r=(r, 0 < r < 2 / 3, "in (0, 2/3)"))

  def step(p, key, x, t, s, carry):
    del key
    h, (m, n), eps = width(p, t, s), (_time_between(p, t, s, u) for u in (r, 2 / 3)), p.eps(t, x)
    near = (p.eps(m, with_eps(p, x, t, m, eps)) - eps) / r
    y = with_eps(p, x, t, n, eps) + expand(2 / 3 * p.sigma(n) * _lag(2 / 3 * h), x) * near
    far = (p.eps(n, y) - eps) * (3 / 2)
    y, weight = with_eps(p, x, t, s, eps), expand(p.sigma(s) * _lag(h), x)
    if kind == "midpoint":
      return y + weight * far, carry
    bend = (far - near) / (2 / 3 - r)  # eps + near u + bend u (u - r), for u in [0, 1]
    weight_of_bend = expand(p.sigma(s) * (1 - 2 * (jnp.expm1(h) - h) / h**2), x) - r * weight
    return y + weight * near + weight_of_bend * bend, carry

  return Solver(step, of=as_semilinear, order=3, evaluations=3)


def dpmpp_2s(kind: Kind = "midpoint", r: float = 1 / 2) -> Solver:
  """DPM-Solver++(2S): arXiv:2211.01095, algorithm 1.

  Args:
    kind: x0 is all the way what it is half way, on the line through both evaluations, or it is that line ("taylor").
    r: where in a step the second evaluation is, as a share of its width in lambda.

  Raises:
    InputError: another kind, or an r that is not in (0, 1].
  """
  require(kind=(kind, kind in _KINDS, " or ".join(_KINDS)), r=(r, 0 < r <= 1, "in (0, 1]"))

  def step(p, key, x, t, s, carry):
    del key
    x0 = p.denoise(t, x)
    m = _time_between(p, t, s, r)
    rise = (p.denoise(m, with_x0(p, x, t, m, x0)) - x0) / r
    if kind == "midpoint":
      return with_x0(p, x, t, s, x0 + rise / 2), carry
    return with_x0(p, x, t, s, x0) + expand(p.alpha(s) * _lag(-width(p, t, s)), x) * rise, carry

  return Solver(step, of=as_semilinear, order=2, evaluations=2)


# The exponential Runge-Kutta method with c2 = 1: Hochbruck and Ostermann, Acta Numerica 19 (2010). x0 is linear in
# lambda between its values at t and at the end of a DDIM step.
exponential_heun = dpmpp_2s("taylor", 1.0)


def single_step(order: int = 2, of: Literal["x0", "eps"] = "x0") -> Solver:
  """DPM-Solver++(2S) and (3S), DPM-Solver-2 and -3, "taylor", whose evaluations are at the times of the grid.

  The papers leave open where in a step they are (arXiv:2206.00927, algorithms 4 and 5; 2211.01095, algorithm 1). Here
  `order` steps of the grid, of one call each, are one step of theirs: each goes from where the first one began, along
  the polynomial through the values since. What is left over at the end is of a lower order: if it is one step, DDIM's,
  the error falls as that of order 2.

  Args:
    order: the number of values, 1 (DDIM) to 3.
    of: what is a polynomial in lambda: "x0" in DPM-Solver++, "eps" in DPM-Solver.

  Raises:
    InputError: another order, or polynomials of something else.
  """
  require(order=(order, 1 <= order <= 3, "from 1 to 3"), of=(of, of in ("x0", "eps"), "x0 or eps"))
  known, kernel = {
    "x0": (with_x0, lambda p, s, u: p.sigma(s)[..., None] * jnp.exp(u)),
    "eps": (with_eps, lambda p, s, u: -p.alpha(s)[..., None] * jnp.exp(-u)),
  }[of]

  def step(p, key, x, t, s, carry):
    del key
    past, x_from, t_from, n = carry
    first = n % order == 0
    x_from, t_from = jnp.where(first, x, x_from), jnp.where(first, t, t_from)
    places = tuple(jnp.where(first, far, place) for far, place in zip(empty(x, order).places, past.places, strict=True))
    past = History(past.values, places).push(p.denoise(t, x) if of == "x0" else p.eps(t, x), half_log_snr(p, t))
    (value, *others), places = past
    ends = half_log_snr(p, t_from), half_log_snr(p, s)
    _, *weights = integrals(lambda u: kernel(p, s, u), places, *ends)
    bend = sum(expand(w, x) * (v - value) for w, v in zip(weights, others, strict=True))
    return known(p, x_from, t_from, s, value) + bend, (past, x_from, t_from, n + 1)

  init = lambda x: (empty(x, order), jnp.zeros_like(x), jnp.zeros((), x.dtype), 0)
  return Solver(step, of=as_semilinear, init=init, order=order)


def _dpmpp_2m(p, key, x, t, s, carry):
  """DPM-Solver++(2M): arXiv:2211.01095, algorithm 2."""
  del key
  (last, *_), (place, *_) = carry
  x0, now = p.denoise(t, x), half_log_snr(p, t)
  r = (now - place) / width(p, t, s)
  return with_x0(p, x, t, s, x0 + (x0 - last) / expand(2 * r, x)), carry.push(x0, now)


dpmpp_2m = Solver(_dpmpp_2m, of=as_semilinear, init=lambda x: empty(x, 1), order=2)


def _dpmpp_2m_sde(p, key, x, t, s, carry):
  """SDE-DPM-Solver++(2M), the midpoint kind: arXiv:2211.01095, its section on diffusion SDEs.

  x_s = sigma(s) / sigma(t) e^-h x_t + alpha(s) (1 - e^-2h) (x0 + (x0 - last) / 2r) + sigma(s) sqrt(1 - e^-2h) z.
  """
  (last, *_), (place, *_) = carry
  x0, now, h, fresh = p.denoise(t, x), half_log_snr(p, t), width(p, t, s), _fresh(p, t, s)
  ahead = x0 + (x0 - last) / expand(2 * (now - place) / h, x)
  kept = expand(p.sigma(s) / p.sigma(t) * jnp.exp(-h), x) * x
  noise = expand(p.sigma(s) * jnp.sqrt(fresh), x) * p.noise(key, x, t, s)
  return kept + expand(p.alpha(s) * fresh, x) * ahead + noise, carry.push(x0, now)


dpmpp_2m_sde = Solver(
  _dpmpp_2m_sde, of=as_semilinear, init=lambda x: empty(x, 1), order=1, stochastic=True, posterior=True
)


def _dpmpp_3m(factor):
  """The third order of the code that belongs to arXiv:2211.01095, and its correction.

  With u = (lambda - lambda(t)) / h, the parabola through the last three x0 is x0 + d1 u + d2 u^2. The integral of u^2
  needs `factor` 2 = 2!, which that code and those that follow it leave out: it then is of order 2.
  """

  def step(p, key, x, t, s, carry):
    del key
    (f1, f2), (p1, p2) = carry
    x0, now, h = p.denoise(t, x), half_log_snr(p, t), width(p, t, s)
    r0, r1 = (expand(r / h, x) for r in (now - p1, p1 - p2))
    near, far = (x0 - f1) / r0, (f1 - f2) / r1
    d2 = (near - far) / (r0 + r1)
    d1 = near + r0 * d2
    phi = jnp.expm1(-h) / h + 1
    bend = expand(phi, x) * d1 - expand(factor * (phi / h - 0.5), x) * d2
    return with_x0(p, x, t, s, x0) + expand(p.alpha(s), x) * bend, carry.push(x0, now)

  return Solver(step, of=as_semilinear, init=lambda x: empty(x, 2), order=1 + factor)


dpmpp_3m = _dpmpp_3m(factor=1)
dpmpp_3m_corrected = _dpmpp_3m(factor=2)


def _lag(u):
  """1 - (e^u - 1) / u: what a value that rises in proportion to lambda is short of its end, by the weight e^lambda."""
  return 1 - jnp.expm1(u) / u


def _fresh(p, t, s):
  """The share of the noise at s that is fresh in q(x_s | x_t, x0): 1 - exp(-2 h), without cancellation."""
  return -jnp.expm1(-2.0 * width(p, t, s))


def _time_between(p, t, s, share):
  """The time at which lambda has gone `share` of its way from t to s, by bisection."""
  value = half_log_snr(p, t) + share * width(p, t, s)

  def halve(_, bracket):
    early, late = bracket  # lambda falls with time
    middle = (early + late) / 2
    over = half_log_snr(p, middle) > value
    return jnp.where(over, middle, early), jnp.where(over, late, middle)

  bracket = jnp.minimum(t, s), jnp.maximum(t, s)
  early, late = jax.lax.fori_loop(0, jnp.finfo(t.dtype).nmant + 2, halve, bracket)
  return (early + late) / 2
