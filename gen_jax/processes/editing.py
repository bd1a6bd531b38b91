"""Editing and inverse problems with a model that was trained for neither.

All of it is written against a denoiser, a path and a solver, whatever the model is.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.errors import InputError, at_least
from gen_jax.ops.linear import linear_part
from gen_jax.ops.shapes import expand
from gen_jax.processes.gaussian import Gaussian
from gen_jax.processes.guidance import Denoise
from gen_jax.solvers.base import Solver, check_falling, integrate
from gen_jax.types import Array, Key


def sdedit(key: Key, denoise: Denoise, path: Gaussian, solver: Solver, x: Array, ts: Array) -> Array:
  """A guide, such as a coarse drawing, made likely: noised up to ts[0] and denoised again (arXiv:2108.01073, alg. 1).

  Args:
    key: of the noise, and of a stochastic solver.
    denoise: the model.
    path: alpha and sigma.
    solver: what it steps with.
    x: guides [B, ...].
    ts: falling times [N + 1]; the later the first, the likelier and the less like the guide.

  Returns:
    [B, ...].

  Raises:
    InputError: times that do not fall, or are not the path's.
  """
  check_falling(ts, path.t_min, path.t_max)
  key_noise, key_path = jax.random.split(key)
  xt, _ = path.perturb(key_noise, x, ts[0])
  xt = integrate(solver, path.problem(denoise), key_path, xt, ts)
  return denoise(ts[-1], xt)


def repaint(
  key: Key,
  denoise: Denoise,
  path: Gaussian,
  solver: Solver,
  x: Array,
  known: Array,
  ts: Array,
  *,
  resamples: int = 10,
  jump: int = 10,
) -> Array:
  """Inpainting: what is not known is sampled, what is known comes noised from x (arXiv:2201.09865, alg. 1).

  To harmonise the two, each stretch of `jump` steps is walked `resamples` times; noise is added to go back in between.

  Args:
    key: of all noise.
    denoise: the model.
    path: alpha and sigma.
    solver: a one-step method.
    x: images [B, ...]; what they show where they are not known does not matter.
    known: bool, broadcasts against x: where x is to be kept.
    ts: falling times [N + 1], from t_max.
    resamples: times that each stretch is walked.
    jump: steps of a stretch.

  Returns:
    [B, ...], equal to x where it is known.

  Raises:
    InputError: a solver that remembers earlier steps; times that do not fall, or are not the path's; no walk or no
      step of it.
  """
  at_least(1, resamples=resamples, jump=jump)
  check_falling(ts, path.t_min, path.t_max)
  problem = solver.of(path.problem(denoise))
  if jax.tree.leaves(solver.init(x)):
    raise InputError("repaint walks to and fro, where a multistep solver loses its way: choose a one-step solver")
  key_prior, key_walk = jax.random.split(key)
  visits = ts[np.array(walk(len(ts) - 1, jump, resamples))]

  def back(key, xt, t, s):  # the known part is put in where the step ends
    key_step, key_known = jax.random.split(key)
    xt, _ = solver.step(problem, key_step, xt, t, s, ())
    return jnp.where(known, path.perturb(key_known, x, s)[0], xt)

  forth = path.renoise

  def body(xt, move):
    n, t, s = move
    return jax.lax.cond(s < t, back, forth, jax.random.fold_in(key_walk, n), xt, t, s), None

  moves = (jnp.arange(len(visits) - 1), visits[:-1], visits[1:])
  xt, _ = jax.lax.scan(body, path.prior(key_prior, x.shape), moves)
  return jnp.where(known, x, denoise(ts[-1], xt))


def walk(num: int, jump: int, resamples: int) -> Sequence[int]:
  """The places on a grid of `num` steps, in the order in which RePaint visits them: stretches are gone over again."""
  visits = [0]
  for start in range(0, num, jump):
    end = min(start + jump, num)
    once = list(range(start + 1, end + 1))
    visits += once
    for _ in range(resamples - 1):
      visits += [*range(end - 1, start - 1, -1), *once]
  return visits


def posterior(
  denoise: Denoise,
  path: Gaussian,
  measure: Callable[[Array], Array],
  y: Array,
  *,
  noise: float = 0.0,
  std: float = 1.0,
  iterations: int = 20,
) -> Denoise:
  """A denoiser of the posterior of x0 given y = A x0 + noise: pseudoinverse guidance (PiGDM, Song et al., ICLR 2023).

  The data that a noisy image may stand for are taken as N(x0(xt), r^2), with r^2 = sigma^2 std^2 / (sigma^2 + alpha^2
  std^2). Then log p(y | xt) is a Gaussian, and its slope is added as a classifier's is:

    x0 + sigma^2 / alpha (d x0 / d xt)^T A^T (r^2 A A^T + noise^2)^-1 (y - A x0).

  It is exact for data N(., std^2), and better than a fixed step along the slope of |y - A x0| (DPS, arXiv:2209.14687)
  in that nothing has to be tuned. The inverse is by conjugate gradients: one iteration where A A^T is a multiple of the
  identity, as for inpainting, averages over blocks and grey images.

  Args:
    denoise: the model.
    path: alpha and sigma.
    measure: A, from [B, ...] to [B, ...], each example by itself; it may add a constant.
    y: what was measured, [B, ...].
    noise: standard deviation of its noise.
    std: standard deviation of the data.
    iterations: of conjugate gradients, at most.

  Raises:
    InputError: `measure` is not affine; when it is called.
  """

  def guided(t, xt):
    x0, pull = jax.vjp(lambda xt: denoise(t, xt), xt)
    forward, back = linear_part(measure, x0)
    a2, s2 = path.alpha(t) ** 2, path.sigma(t) ** 2
    r2 = s2 * std**2 / (s2 + a2 * std**2)
    spread = lambda v: expand(r2, v) * forward(back(v)) + noise**2 * v
    v, _ = jax.scipy.sparse.linalg.cg(spread, y - measure(x0), maxiter=iterations)
    return x0 + expand(s2 / path.alpha(t), xt) * pull(back(v))[0]

  return guided
