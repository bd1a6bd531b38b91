"""Langevin dynamics at noise levels that fall: NCSN's sampler, and the corrector of score-based models.

Its steps are as long as the noise level and the score ask for. A finer grid does not shorten them, and so a part of the
error stays, however fine: the order of these methods is 0.
"""

import jax
import jax.numpy as jnp

from gen_jax.errors import require
from gen_jax.ops.shapes import expand
from gen_jax.resolve import build
from gen_jax.solvers.base import Solver, as_semilinear, independent


def annealed(step_size: float = 0.2, rounds: int = 100) -> Solver:
  """Annealed Langevin dynamics: arXiv:1907.05600, algorithm 1: `rounds` steps of Langevin dynamics at each level.

  x <- x + a / 2 score + sqrt(a) z, where a = epsilon (sigma / sigma_L)^2 is `step_size` sigma^2. Unlike there, the
  level at which `integrate` starts has no steps. Many steps at a level where xt is N(0, V) leave a variance of
  V / (1 - a / (4 V)), if a < 4 V.

  Args:
    step_size: epsilon / sigma_L^2: 2e-5 / 0.01^2 as published.
    rounds: T, the number of steps at each level.

  Raises:
    InputError: steps that go nowhere, or none.
  """
  require(step_size=(step_size, step_size > 0, "positive"), rounds=(rounds, rounds >= 1, "at least 1"))

  def step(p, key, x, t, s, carry):
    a = expand(step_size * p.sigma(s) ** 2, x)
    x = expand(p.alpha(s) / p.alpha(t), x) * x
    noise = lambda i: independent(jax.random.fold_in(key, i), x, t, s)
    walk = lambda i, x: x + a / 2 * p.score(s, x) + jnp.sqrt(a) * noise(i)
    return jax.lax.fori_loop(0, rounds, walk, x), carry

  return Solver(step, of=as_semilinear, order=0, evaluations=rounds, stochastic=True)


def predictor_corrector(predictor: str = "sde.reverse_diffusion", snr: float = 0.16, rounds: int = 1) -> Solver:
  """A step of `predictor`, then Langevin dynamics at the time it arrives at: arXiv:2011.13456, algorithms 2 to 5.

  x <- x + e score + sqrt(2 e) z with e = 2 (snr |z| / |score|)^2, which algorithm 5 multiplies by 1 - beta of the
  step, almost 1. Norms are means over the batch, as in the paper (appendix G), of examples that are at one noise level;
  at several, they are taken of sigma times the score.

  Args:
    predictor: another solver of this room, one that takes the steps it is told to.
    snr: r, the size of the step relative to the score.
    rounds: M, the number of corrections.

  Raises:
    InputError: corrections that go nowhere, or none; an adaptive predictor.
  """
  require(snr=(snr, snr > 0, "positive"), rounds=(rounds, rounds >= 1, "at least 1"))
  name, predictor = predictor, build("solvers", predictor)
  require(predictor=(name, predictor.evaluations > 0, "a solver that does not choose its own steps"))

  def step(p, key, x, t, s, carry):
    key_predict, key_correct = jax.random.split(key)
    x, carry = predictor.step(predictor.of(p), key_predict, x, t, s, carry)

    def correct(i, x):
      z = independent(jax.random.fold_in(key_correct, i), x, t, s)
      eps, sigma = p.eps(s, x), expand(p.sigma(s), x)
      e = 2 * (snr * sigma * _length(z) / _length(eps)) ** 2
      return x - e / sigma * eps + jnp.sqrt(2 * e) * z

    return jax.lax.fori_loop(0, rounds, correct, x), carry

  calls = dict(evaluations=predictor.evaluations + rounds, startup=predictor.startup)
  return Solver(step, of=as_semilinear, init=predictor.init, order=0, **calls, stochastic=True)


def _length(x):
  """Mean Euclidean norm of the examples."""
  return jnp.mean(jnp.linalg.norm(x.reshape(len(x), -1), axis=-1))
