"""Mean flow: the average velocity of a trajectory, learned from an identity that its derivative satisfies."""

import dataclasses

import jax
import jax.numpy as jnp

from gen_jax.errors import at_least, require
from gen_jax.family import State
from gen_jax.ops.shapes import expand, sum_flat
from gen_jax.processes.average_velocity import AverageVelocity
from gen_jax.types import Array, Batch, Key, Metrics, PyTree

_SMALL = 1e-3  # c of the adaptive weight: arXiv:2505.13447, section 4.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanFlow(AverageVelocity):
  """Mean flows: arXiv:2505.13447, algorithm 1.

  The average velocity u over the last h of the way, and the velocity v = eps - x0, satisfy u = v - h du/dt with the
  derivative along the trajectory (eq. 6). Training moves u towards the right side, taken with u itself by forward-mode
  differentiation and not differentiated again, each error weighted by one over (itself + c)^p.

  Attributes:
    share: of the batch that has h > 0.
    mean: of the logit of the times that a pair is drawn from.
    std: of the same.
    power: p; 0 for plain squared errors, 1 for about their logarithm.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  share: float = 0.25
  mean: float = -0.4
  std: float = 1.0
  power: float = 1.0

  def __post_init__(self):
    super().__post_init__()
    require(share=(self.share, 0 <= self.share <= 1, "in [0, 1]"), std=(self.std, self.std > 0, "positive"))
    at_least(0, power=self.power)

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """The adaptively weighted squared error; "error" is its plain mean."""
    key_eps, key_t, key_net = jax.random.split(key, 3)
    x = batch["x"]
    eps = jax.random.normal(key_eps, x.shape)
    times = jax.nn.sigmoid(self.mean + self.std * jax.random.normal(key_t, (2, len(x))))
    jumps = jnp.arange(len(x)) < max(round(self.share * len(x)), self.share > 0)
    t = jnp.where(jumps, times.max(0), times[0])
    h = jnp.where(jumps, times.max(0) - times.min(0), 0.0)
    xt, v = self.path.mix(x, eps, t), eps - x

    u = lambda x, t, h: self._velocity(params, x, t, h, batch, key_net)
    # s = t - h stays: as t rises by 1, so does h
    value, slope = jax.jvp(u, (xt, t, h), (v, jnp.ones_like(t), jnp.ones_like(h)))
    target = jax.lax.stop_gradient(v - expand(h, v) * slope)
    error = sum_flat(jnp.square(value - target))
    weight = jax.lax.stop_gradient(error + _SMALL) ** -self.power
    return jnp.mean(weight * error), ({"error": error.mean() / x[0].size}, state.extra)
