"""Shortcut models: flow matching that also learns, from itself, what two of its steps would do as one."""

import dataclasses

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, require
from gen_jax.family import State
from gen_jax.ops.shapes import expand, mean_flat
from gen_jax.processes.average_velocity import AverageVelocity
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shortcut(AverageVelocity):
  """Shortcut models: arXiv:2410.12557, algorithm 1.

  Most of a batch learns the velocity, h = 0. The rest learns that a jump of 2 h ends where two jumps of h do, as the
  moving average of the model takes them; h = 1/2, 1/4, ... 1 / `finest`, and jumps start at multiples of 2 h. A jump of
  1 / `finest` is that of the velocity, which is learned from data: the network is told h = 0.

  Attributes:
    share: of the batch that learns jumps.
    finest: jumps from noise to data of the smallest size, a power of 2.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  share: float = 0.25
  finest: int = 128

  def __post_init__(self):
    super().__post_init__()
    require(share=(self.share, 0 < self.share < 1, "between 0 and 1"))
    if self.finest < 2 or self.finest & (self.finest - 1):
      raise InputError(f"finest = {self.finest} should be a power of 2, such as 128")
    if self.steps > self.finest:
      raise InputError(f"steps = {self.steps} are jumps smaller than were trained: at most finest = {self.finest}")

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """The mean squared error of both kinds of targets: arXiv:2410.12557, eq. 5."""
    key_eps, key_t, key_h, key_place, key_net = jax.random.split(key, 5)
    x = batch["x"]
    if len(x) < 2:
      raise InputError("a batch of 1 has no room for both kinds of targets: set train.batch_size=2 or more")
    jumps = min(max(1, round(self.share * len(x))), len(x) - 1)
    few = {name: value[:jumps] for name, value in batch.items()}
    eps = jax.random.normal(key_eps, x.shape)
    level = jax.random.randint(key_h, (jumps,), 0, self.finest.bit_length() - 1)
    pieces = 2.0**level  # jumps of 2 h on the whole way
    h = 0.5 / pieces
    place = jnp.floor(jax.random.uniform(key_place, (jumps,)) * pieces)
    t = jax.random.uniform(key_t, (len(x),)).at[:jumps].set((place + 1) / pieces)
    xt = self.path.mix(x, eps, t)

    teacher = state.eval_params
    first = self._velocity(teacher, xt[:jumps], t[:jumps], h, few)
    second = self._velocity(teacher, xt[:jumps] - expand(h, first) * first, t[:jumps] - h, h, few)
    target = jax.lax.stop_gradient((eps - x).at[:jumps].set((first + second) / 2))
    told = jnp.zeros(len(x)).at[:jumps].set(2 * h)
    error = mean_flat(jnp.square(self._velocity(params, xt, t, told, batch, key_net) - target))
    parts = {"flow": error[jumps:].mean(), "jumps": error[:jumps].mean()}
    return error.mean(), (parts, state.extra)

  def _velocity(self, params: PyTree, x: Array, t: Array, h: Array, cond: Cond, key: Key | None = None) -> Array:
    finer = h * self.finest < 1.5  # no network was told so little, other than nothing
    return super()._velocity(params, x, t, jnp.where(finer, 0.0, h), cond, key)
