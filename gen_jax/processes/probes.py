"""How far a student's samples are from where the run that it follows takes the same noise, as training goes on."""

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax.errors import at_least
from gen_jax.family import State
from gen_jax.processes.conditional import Conditional
from gen_jax.processes.gaussian import Gaussian
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probed(Conditional):
  """Base of families that may follow another run: that run's ends of some trajectories are kept, and looked at.

  Attributes:
    probes: trajectories whose ends the samples from the same noise are compared with; 0 for no comparison, at the end
      either.
    probe_every: steps between such comparisons.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  path: Gaussian
  probes: int = 64
  probe_every: int = 50

  def __post_init__(self):
    super().__post_init__()
    at_least(0, probes=self.probes)
    at_least(1, probe_every=self.probe_every)

  @abc.abstractmethod
  def transport(self, key: Key, params: PyTree, noise: Array, cond: Cond = None) -> Array:
    """The samples that are made of `noise` [B, *shape], which has the scale sigma(t_max)."""

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One step of gradient descent on `loss`, and every so often a look at where the samples are."""
    state, metrics = super().step(key, state, batch)
    state, distance = self.probe(state)
    return state, {**metrics, **distance}

  def probe(self, state: State) -> tuple[State, Metrics]:
    """How far the samples are from the ends of the probes' trajectories, taken anew every `probe_every` steps."""
    if "probe" not in state.extra:
      return state, {}
    distance = jax.lax.cond(
      state.step % self.probe_every == 0,
      lambda: self._endpoint_distance(state.eval_params, state.extra["probe"]),
      lambda: state.extra["endpoint_distance"],
    )
    return state.replace(extra={**state.extra, "endpoint_distance": distance}), {"endpoint_distance": distance}

  def report(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Metrics:
    """The "endpoint_distance" of `num` new samples, where another run is followed and compared with; else nothing."""
    if not (self._followed and self.probes):
      return {}
    noise = self.path.prior(key, (num, *self.spec.shape))
    return {"endpoint_distance": self._endpoint_distance(params, self._compared(noise, cond))}

  def _probed(self, key: Key, params: PyTree, batch: Batch) -> dict[str, Any]:
    """What the state keeps: the probes, and how far the samples of `params` are from their ends."""
    if not (self._followed and self.probes):
      return {}
    row = jnp.arange(self.probes) % len(batch["x"])
    noise = self.path.prior(key, (self.probes, *self.spec.shape))
    probe = self._compared(noise, {name: batch[name][row] for name in self.conditions} or None)
    return {"probe": probe, "endpoint_distance": self._endpoint_distance(params, probe)}

  def _compared(self, noise: Array, cond: Cond) -> PyTree:
    """Noise, where the other run takes it, and its conditions."""
    return {"noise": noise, "end": self._ends(noise, cond), **(cond or {})}

  def _endpoint_distance(self, params: PyTree, probe: PyTree) -> Array:
    """The root mean squared difference between samples and the ends of the other run's trajectories."""
    x = self.transport(jax.random.key(0), params, probe["noise"], {n: probe[n] for n in self.conditions} or None)
    return jnp.sqrt(jnp.square(x - probe["end"]).mean())

  @property
  @abc.abstractmethod
  def _followed(self) -> bool:
    """Whether another run is followed."""

  @abc.abstractmethod
  def _ends(self, noise: Array, cond: Cond) -> Array:
    """Where the other run takes `noise` [B, *shape], which has the scale sigma(t_max)."""
