"""Generative adversarial networks: a generator makes data, a discriminator learns to tell, and each learns in turn."""

import dataclasses
import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, at_least
from gen_jax.family import State
from gen_jax.ops.shapes import spread
from gen_jax.processes.adversary import Adversary
from gen_jax.resolve import part
from gen_jax.steps import Optimizer, descend, start
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class GAN:
  """Two players (1406.2661, algorithm 1): `turns` steps of the discriminator, then one of the generator.

  The batch is cut into `turns` equal parts, so that each of those steps sees fresh data and fresh codes; the generator
  then learns from as many codes as one part has rows.

  Attributes:
    spec: the data.
    generator: a network z [B, latent] -> [B, *shape]; images pass through tanh.
    adversary: the discriminator, the game, and the penalties.
    latent: size of the code.
    turns: steps of the discriminator for one of the generator.
    ema_decay: of the moving average of the generator that is sampled from; None for none.
    optimizer: the generator's optimiser.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  spec: Spec
  generator: nn.Module = part("nets", "mlp.MLP", width=128, depth=3)
  adversary: Adversary = part("processes", "adversary.Adversary")
  latent: int = 64
  turns: int = 1
  ema_decay: float | None = 0.999
  optimizer: Optimizer = part("steps", "Optimizer", lr=2e-4, b1=0.5)

  conditions: ClassVar[tuple[str, ...]] = ()
  evaluations: ClassVar[int] = 1

  def __post_init__(self):
    at_least(1, latent=self.latent, turns=self.turns)

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step."""
    key_g, key_d = jax.random.split(key)
    params = self._generator.init(key_g, jnp.zeros((1, self.latent)))
    return start(params, self.optimizer, self.ema_decay, adversary=self.adversary.start(key_d, batch["x"]))

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """`turns` steps of the discriminator, one of the generator, one of the moving average.

    Metrics: those of a step of descent of the generator, and the means over turns of the discriminator's.

    Raises:
      InputError: `turns` does not divide the batch.
    """
    x = batch["x"]
    if len(x) % self.turns:
      raise InputError(f"a batch of {len(x)} cannot be cut into turns = {self.turns} equal parts: use a multiple")
    key_d, key_g = jax.random.split(key)
    parts = x.reshape(-1, self.turns, *self.spec.shape).swapaxes(0, 1)  # rows of all devices in each

    def turn(known, inputs):
      key, real = inputs
      key_z, key_learn = jax.random.split(key)
      return self.adversary.learn(key_learn, known, real, self.sample(key_z, state.params, len(real)))

    inputs = jax.random.split(key_d, self.turns), parts
    known, seen = jax.lax.scan(turn, state.extra["adversary"], inputs, unroll=True)  # a loop is slow on a CPU
    state = state.replace(extra={"adversary": known})
    state, metrics = descend(self.loss, self.optimizer, key_g, state, batch, ema_decay=self.ema_decay)
    return state, {**metrics, **jax.tree.map(jnp.mean, seen)}

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """What the generator minimises: how little the discriminator believes in what it makes."""
    fake = self.sample(key, params, len(batch["x"]) // self.turns)
    return self.adversary.fooled(state.extra["adversary"], fake), ({}, state.extra)

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples, [num, *shape]."""
    del cond
    out = self._generator.apply(params, spread(jax.random.normal(key, (num, self.latent))))
    return jnp.tanh(out) if self.spec.kind == "image" else out

  @functools.cached_property
  def _generator(self) -> nn.Module:
    return self.generator.clone(out=self.spec.shape)
