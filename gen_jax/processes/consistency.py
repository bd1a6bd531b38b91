"""What consistency models have in common, in discrete and in continuous time: the function, and samples from it."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.ops.linear import linear_part
from gen_jax.ops.shapes import mean_flat
from gen_jax.processes.gaussian import Gaussian
from gen_jax.processes.student import Student, jump
from gen_jax.solvers.base import noise_level
from gen_jax.solvers.grids import lay
from gen_jax.types import Array, Cond, Key, Metrics, PyTree

Origin = Callable[[Array, Array], Array]  # (t, xt [B, ...]) -> the point at t_min of the trajectory through it


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsistencyModel(Student):
  """Base of families: f(xt, t), the point at t_min of the trajectory of the probability flow through xt at t.

  f is a step of DDIM from t to t_min with the network's estimate of the data. At t_min it is xt whatever the network
  says; the skip connections of arXiv:2303.01469, eq. 5, do the same, and differ from these by the order of sigma_min.

  Samples are f of noise; with more `steps`, noise is added to what f gave, of the level where the next jump of `grid`
  starts, and f removes it again (arXiv:2303.01469, algorithm 1).
  """

  def __post_init__(self):
    super().__post_init__()
    lay(self.grid, self.path, self.steps)  # what does not fit is refused here

  def origin(self, params: PyTree, cond: Cond = None, key: Key | None = None) -> Origin:
    """f: (t, xt [B, *shape]) -> [B, *shape], t a scalar or [B]; with `key`, as in training."""
    denoise = self._denoise(params, cond, key)
    return lambda t, xt: jump(self.path, denoise(t, xt), xt, t, jnp.asarray(self.path.t_min))

  def report(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Metrics:
    """How well f maps the trajectories of the probability flow, by 18 steps of Heun's method, to where they end.

    They are those of the teacher, or without one of the run that training started from; without both, and with
    `probes` = 0, there is nothing.
    "endpoint_distances" are root mean squared differences from their ends at each of "noise_levels", and
    "endpoint_distance" that from pure noise. "consistency_errors" are root mean squared differences of f from its mean
    along a trajectory, and "consistency_error" those of all levels together, the standard deviation of f.
    """
    if not (self._followed and self.probes):
      return {}
    ts, states = self._way(self.path.prior(key, (num, *self.spec.shape)), cond)
    f = self.origin(params, cond)
    ends = jax.lax.map(lambda at: f(*at), (ts, states))
    size = lambda error: jnp.sqrt(mean_flat(jnp.square(error)))
    distances, spreads = size(ends - states[-1]), size(ends - ends.mean(0))
    return {
      "endpoint_distance": distances[0],
      "consistency_error": jnp.sqrt(jnp.square(spreads).mean()),
      "noise_levels": noise_level(self.path, ts),
      "endpoint_distances": distances,
      "consistency_errors": spreads,
    }

  def transport(self, key: Key, params: PyTree, noise: Array, cond: Cond = None) -> Array:
    """The samples that f makes of `noise` [B, *shape], which has the scale sigma(t_max)."""
    ts = lay(self.grid, self.path, self.steps)[:-1]
    return multistep(key, self.origin(params, cond), self.path, noise, ts)


def multistep(key: Key, f: Origin, path: Gaussian, noise: Array, ts: Array) -> Array:
  """f of `noise` [B, ...], which has the scale sigma(ts[0]), and of what has noise again at the other `ts` [N]."""
  return refine(key, f, path, f(ts[0], noise), ts[1:])


def refine(
  key: Key, f: Origin, path: Gaussian, x: Array, ts: Array, fix: Callable[[Array], Array] = lambda x: x
) -> Array:
  """Noise is added to x up to each of `ts` in turn, and f removes it: arXiv:2303.01469, algorithms 1 and 4.

  Args:
    key: of the noise.
    f: the consistency function.
    path: alpha and sigma.
    x: [B, ...], images at t_min, or what an edit starts from: a drawing, or an image of which something is known.
    ts: [N] times, falling: the later the first, the less is kept of x.
    fix: applied to x before noise is added, and at the end: puts back what is known, such as `known`.

  Returns:
    [B, ...].
  """

  def again(x, step):
    n, t = step
    return fix(f(t, path.renoise(jax.random.fold_in(key, n), x, jnp.asarray(path.t_min), t))), None

  return jax.lax.scan(again, fix(x), (jnp.arange(len(ts)), ts))[0]


def known(measure: Callable[[Array], Array], y: Array, iterations: int = 20) -> Callable[[Array], Array]:
  """x -> x + A^T (A A^T)^-1 (y - A x), the nearest image of which `measure` A gives y: a `fix` for zero-shot editing.

  A mask makes it inpainting, a mean over channels colorization, means of squares of pixels super-resolution.

  Args:
    measure: A, [B, ...] -> [B, ...], each example by itself; it may add a constant.
    y: what is known, [B, ...].
    iterations: of conjugate gradients, at most; one is enough where A A^T is a multiple of the identity.

  Raises:
    InputError: `measure` is not affine; when it is called.
  """

  def fix(x):
    forward, back = linear_part(measure, x)
    v, _ = jax.scipy.sparse.linalg.cg(lambda v: forward(back(v)), y - measure(x), maxiter=iterations)
    return x + back(v)

  return fix
