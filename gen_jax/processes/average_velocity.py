"""What models of average velocities have in common: a network that knows how far to go, and samples in any jumps."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from gen_jax.errors import at_least
from gen_jax.processes.conditional import Conditional
from gen_jax.processes.gaussian import Gaussian, rectified
from gen_jax.resolve import part
from gen_jax.solvers.grids import Grid, span
from gen_jax.types import Array, Cond, Key, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class AverageVelocity(Conditional):
  """Base of families: u(xt, t, h), the mean of dx/dt over the last h of the way of a trajectory through xt at t.

  x(t - h) = xt - h u(xt, t, h); with h = 0, u is the velocity of flow matching, on straight lines
  xt = (1 - t) x0 + t eps. The network is conditioned on t and h, and sampling takes `steps` jumps, of any number
  with the same model.

  Attributes:
    net: gives an output of the shape of x.
    grid: where the sampler's jumps end.
    steps: number of the sampler's jumps, and of its network evaluations.
    clip: whether samples are clipped to [-1, 1].

  Raises:
    InputError: settings that do not fit each other or the data; a grid in terms of log-SNR, which has no ends here.
  """

  grid: Grid = part("solvers", "grids.linear")
  steps: int = 1
  clip: bool = False

  path: ClassVar[Gaussian] = rectified(t_min=0.0, t_max=1.0)

  def __post_init__(self):
    super().__post_init__()
    at_least(1, steps=self.steps)
    span(self.grid, self.path, self.steps)

  @property
  def evaluations(self) -> int:
    """Network evaluations per image: one a jump."""
    return self.steps

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples, [num, *shape]."""
    x = self.transport(params, self.path.prior(key, (num, *self.spec.shape)), cond)
    return jnp.clip(x, -1, 1) if self.clip else x

  def transport(self, params: PyTree, noise: Array, cond: Cond = None) -> Array:
    """What the jumps make of standard normal `noise` [B, *shape]."""
    ts = span(self.grid, self.path, self.steps)

    def one(x, interval):
      t, s = interval
      return x - (t - s) * self._velocity(params, x, t, t - s, cond), None

    return jax.lax.scan(one, noise, (ts[:-1], ts[1:]))[0]

  def _velocity(self, params: PyTree, x: Array, t: Array, h: Array, cond: Cond, key: Key | None = None) -> Array:
    """u of x [B, ...]; t and h are scalars or [B]; with `key`, as in training.

    Raises:
      InputError: no `cond` for a model that is conditional.
    """
    training = {} if key is None else dict(train=True, rngs={"dropout": key})
    time = jnp.stack([jnp.broadcast_to(t, len(x)), jnp.broadcast_to(h, len(x))], axis=-1)
    return self._net.apply(params, x, time, self._needed(cond), None, **training)

  def _no_time(self, num: int) -> Array:
    return jnp.zeros((num, 2))
