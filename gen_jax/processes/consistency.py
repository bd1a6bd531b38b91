"""What consistency models have in common, in discrete and in continuous time: the function, and samples from it."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.ops.shapes import expand
from gen_jax.processes.student import Student, jump
from gen_jax.types import Array, Cond, Key, Metrics, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsistencyModel(Student):
  """Base of families: f(xt, t), the point at t_min of the trajectory of the probability flow through xt at t.

  f is a step of DDIM from t to t_min with the network's estimate of the data. At t_min it is xt whatever the network
  says; the skip connections of arXiv:2303.01469, eq. 5, do the same, and differ from these by the order of sigma_min.

  Samples are f of noise; with more `steps`, noise is added to what f gave, of the level where the next jump of `grid`
  starts, and f removes it again (arXiv:2303.01469, algorithm 1).
  """

  def origin(self, params: PyTree, cond: Cond = None, key: Key | None = None) -> Callable[[Array, Array], Array]:
    """f: (t, xt [B, *shape]) -> [B, *shape], t a scalar or [B]; with `key`, as in training."""
    denoise = self._denoise(params, cond, key)
    return lambda t, xt: jump(self.path, denoise(t, xt), xt, t, jnp.asarray(self.path.t_min))

  def report(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Metrics:
    """How well f maps the teacher's trajectories, which 18 steps of Heun's method give, to where they end.

    "endpoint_distances" are root mean squared differences at each of "noise_levels", "endpoint_distance" that from pure
    noise, and "consistency_error" is the standard deviation of f along a trajectory. Nothing without a teacher.
    """
    if self.teacher is None:
      return {}
    ts, states = self._way(self.path.prior(key, (num, *self.spec.shape)), cond)
    f = self.origin(params, cond)
    ends = jax.lax.map(lambda at: f(*at), (ts, states))
    distances = jnp.sqrt(jnp.square(ends - states[-1]).reshape(len(ts), -1).mean(-1))
    return {
      "endpoint_distance": distances[0],
      "consistency_error": jnp.sqrt(ends.var(0).mean()),
      "noise_levels": self.path.sigma(ts) / self.path.alpha(ts),
      "endpoint_distances": distances,
    }

  def transport(self, key: Key, params: PyTree, noise: Array, cond: Cond = None) -> Array:
    """The samples that f makes of `noise` [B, *shape], which has the scale sigma(t_max)."""
    f, ts = self.origin(params, cond), self.grid(self.path, self.steps)[:-1]

    def again(x, step):
      n, t = step
      return f(t, renoise(self.path, jax.random.fold_in(key, n), x, t)), None

    x = f(ts[0], noise)
    return jax.lax.scan(again, x, (jnp.arange(self.steps - 1), ts[1:]))[0] if self.steps > 1 else x


def renoise(path, key: Key, x: Array, t: Array) -> Array:
  """A draw from q(x_t | x at t_min), of the shape of x [B, ...]; t is a scalar."""
  end = jnp.asarray(path.t_min)
  kept = path.alpha(t) / path.alpha(end)
  std = jnp.sqrt(path.sigma(t) ** 2 - (kept * path.sigma(end)) ** 2)
  return expand(kept, x) * x + expand(std, x) * jax.random.normal(key, x.shape)
