"""What all families with one network that is conditioned on the time and more have in common."""

import abc
import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.data import entries as rows
from gen_jax.errors import InputError, near
from gen_jax.family import State, entries
from gen_jax.resolve import part
from gen_jax.steps import Optimizer, descend, start
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditional(abc.ABC):
  """Base of families: a network that is conditioned on the time and on what `conditions` name.

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
    entries(self.spec, self.conditions)

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step."""
    return start(self._init(key, batch), self.optimizer, self.ema_decay)

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One step of gradient descent on `loss`."""
    return descend(self.loss, self.optimizer, key, state, batch, ema_decay=self.ema_decay)

  @abc.abstractmethod
  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """What the method minimises."""

  def _init(self, key: Key, batch: Batch) -> PyTree:
    """The parameters before the first step."""
    return self._net.init(key, batch["x"], self._no_time(len(batch["x"])), self._cond(batch))

  def _no_time(self, num: int) -> Array:
    """The input for the time, for `num` examples, all zeros."""
    return jnp.zeros(num)

  @functools.cached_property
  def _net(self) -> nn.Module:
    return self.net.clone(conditions=entries(self.spec, self.conditions))

  def _apply(self, params: PyTree, *inputs: Any) -> Array:
    """What the network says outside of training; it is traced once, though samplers ask it in several places."""
    return _apply(self._net, params, *inputs)

  def _needed(self, cond: Batch | Cond) -> Cond:
    """`_cond`, of a model that was never trained without it: raises InputError where there is none."""
    if self.conditions and cond is None:
      raise InputError(f"this model was trained on {self.conditions[0]}s alone: give cond with one for each sample")
    return self._cond(cond)

  def _cond(self, batch: Batch | Cond) -> Cond:
    """The entries of `batch` that the network is conditioned on, checked; None where there are none."""
    if not batch or not self.conditions:
      return None
    for entry in entries(self.spec, self.conditions):
      if entry.name not in batch:
        raise InputError(f"cond has no {entry.name!r}: {near(entry.name, batch)}")
      rows.check(entry, batch[entry.name])
    return {name: jnp.asarray(batch[name]) for name in self.conditions}


@functools.partial(jax.jit, static_argnums=0)
def _apply(net: nn.Module, params: PyTree, *inputs: Any) -> Array:
  return net.apply(params, *inputs)
