"""Adaptive integration of the probability flow of a mixture in 64 dimensions, 1,024 points, tolerance 1e-5.

Peer: torchdiffeq (0.2.5), with the same method, tolerances and control of the error of the batch as a whole. It chooses
a step by the last error, and we by the last two. Both end within 1e-3 of each other, or the row fails.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import peers
from benchmarks.timing import alone, compare
from gen_jax.processes import gaussian
from gen_jax.solvers import adaptive, base

_DIM, _POINTS, _COMPONENTS, _STD, _TOL = 64, 1024, 16, 0.3, 1e-5
_BETA_MIN, _BETA_MAX = 0.1, 20.0


def rows(name: str):
  """Yields the row if its name has `name` in it."""
  work = f"probability flow, {_DIM}-d mixture, {_POINTS} points, adaptive"
  if name not in work:
    return
  rng = np.random.default_rng(0)
  means = rng.standard_normal((_COMPONENTS, _DIM), dtype=np.float32)
  x = rng.standard_normal((_POINTS, _DIM), dtype=np.float32)
  mine = _ours(means, x)
  if peers.missing("torchdiffeq"):
    yield alone(work, mine, note="torchdiffeq (not installed)")
    return
  theirs = _torchdiffeq(means, x)
  apart = np.sqrt(np.mean((np.asarray(mine()) - theirs().cpu().numpy()) ** 2))
  assert apart < 1e-3, f"the two solutions are {apart:.1e} apart"
  yield compare(work, mine, "torchdiffeq dopri5", theirs, runs=25)


def _ours(means, x):
  path = gaussian.linear(_BETA_MIN, _BETA_MAX)
  matmul = functools.partial(jnp.matmul, precision="highest")  # the tolerance is finer than TF32

  def denoise(t, x):
    a, s = path.alpha(t), path.sigma(t)
    var = (a * _STD) ** 2 + s**2
    share = jax.nn.softmax((a * matmul(x, means.T) - a**2 * (means**2).sum(-1) / 2) / var)
    return (a * _STD**2 * x + s**2 * matmul(share, means)) / var

  solver, ts = adaptive.dopri5(_TOL, _TOL), jnp.array([path.t_max, path.t_min])
  solve = jax.jit(lambda x: base.integrate(solver, path.problem(denoise), jax.random.key(0), x, ts))
  return lambda: solve(x)


def _torchdiffeq(means, x):
  import torch
  from torchdiffeq import odeint

  device = peers.device(products="highest")
  means, x, times = (torch.tensor(a, device=device) for a in (means, x, [1.0, 1e-3]))

  def drift(t, x):
    log_a = -(t**2) * (_BETA_MAX - _BETA_MIN) / 4 - t * _BETA_MIN / 2
    a, s2 = torch.exp(log_a), -torch.expm1(2 * log_a)
    var = (a * _STD) ** 2 + s2
    share = torch.softmax((a * (x @ means.T) - a**2 * (means**2).sum(-1) / 2) / var, -1)
    score = (a * (share @ means) - x) / var
    return -0.5 * (_BETA_MIN + t * (_BETA_MAX - _BETA_MIN)) * (x + score)

  def solve():
    with torch.no_grad():
      out = odeint(drift, x, times, rtol=_TOL, atol=_TOL, method="dopri5")[-1]
    out.sum().item()  # waits for the device
    return out

  return solve
