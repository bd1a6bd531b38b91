"""What all families with one network that is told a time and conditions have in common."""

import abc
import dataclasses
import functools

import flax.linen as nn
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.family import State, told
from gen_jax.resolve import part
from gen_jax.steps import Optimizer, descend
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditional(abc.ABC):
  """Base of families: a network that is told the time and what the model is conditioned on.

  Attributes:
    spec: the data.
    net: a network net(x, time, cond, hidden).
    conditions: what it is conditioned on, such as ("label",).
    ema_decay: of the moving average of the parameters that is sampled from; None for none.
    optimizer: the optimiser.

  Raises:
    InputError: the data have no such condition.
  """

  spec: Spec
  net: nn.Module = part("nets", "unet.UNet")
  conditions: tuple[str, ...] = ()
  ema_decay: float | None = 0.999
  optimizer: Optimizer = part("steps", "Optimizer")

  def __post_init__(self):
    told(self.spec, self.conditions)

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One step of gradient descent on `loss`."""
    return descend(self.loss, self.optimizer, key, state, batch, ema_decay=self.ema_decay or 0.0)

  @abc.abstractmethod
  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """What the method minimises."""

  def _init(self, key: Key, batch: Batch) -> PyTree:
    """The parameters before the first step."""
    return self._net.init(key, batch["x"], self._no_time(len(batch["x"])), self._cond(batch))

  def _no_time(self, num: int) -> Array:
    """What the network is told of the time, for `num` examples, all zeros."""
    return jnp.zeros(num)

  @functools.cached_property
  def _net(self) -> nn.Module:
    return self.net.clone(conditions=told(self.spec, self.conditions))

  def _needed(self, cond: Batch | Cond) -> Cond:
    """`_cond`, of a model that was never trained without it: raises InputError where there is none."""
    if self.conditions and cond is None:
      raise InputError(f"this model was trained on {self.conditions[0]}s alone: give cond with one for each sample")
    return self._cond(cond)

  def _cond(self, batch: Batch | Cond) -> Cond:
    """The entries of `batch` that the network is told; None where there is nothing to tell."""
    return {name: batch[name] for name in self.conditions} or None if batch else None
