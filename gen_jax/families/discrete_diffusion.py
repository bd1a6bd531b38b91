"""Discrete diffusion: pixels are values from a finite set, and noise replaces them rather than adding to them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, at_least
from gen_jax.family import State
from gen_jax.ops.draws import systematic
from gen_jax.ops.shapes import sum_flat
from gen_jax.processes.categorical import Categorical
from gen_jax.processes.conditional import Conditional
from gen_jax.resolve import part
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscreteDiffusion(Conditional):
  """Diffusion of discrete values: arXiv:2107.03006 (D3PM), with absorbing noise arXiv:2406.07524 (MDLM).

  The network gives the probabilities of every pixel's value, the process turns them into those of a step back, and
  training maximises the variational bound of a chain of `chain` steps (2107.03006, eq. 1), one step of it at a time.
  A mask is told to the network as a plane of its own.

  Attributes:
    spec: images with levels.
    net: one with a field `out`, its output channels.
    process: how values are replaced.
    chain: steps of the chain whose bound is trained and reported.
    steps: steps of the sampler.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  process: Categorical = part("processes", "categorical.absorbing")
  chain: int = 1000
  steps: int = 64

  def __post_init__(self):
    super().__post_init__()
    if self.spec.levels < 2:
      raise InputError("discrete diffusion is for images with levels: for vectors choose diffusion.Diffusion")
    at_least(1, chain=self.chain, steps=self.steps)

  @property
  def evaluations(self) -> int:
    """Network evaluations per image: one each step."""
    return self.steps

  def bound(self, num: int = 1) -> str:
    """Which bound `log_prob_bound` is: with the steps of the chain, without which it means nothing."""
    del num
    return f"variational bound, {self.chain} steps"

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step."""
    return super().init(key, {**batch, "x": jnp.concatenate([batch["x"]] * 2, axis=-1)})

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """Minus the bound, nats per entry of x, from one step of the chain for each example, spread over the batch."""
    key_step, key_noise, key_dropout = jax.random.split(key, 3)
    predict = self._predict(params, batch, train=True, rngs={"dropout": key_dropout})
    value = self._kl(key_noise, predict, batch["x"], systematic(key_step, len(batch["x"])))
    return jnp.mean(value) / batch["x"][0].size, ({}, state.extra)

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples, [num, *shape]: noise, and a draw from the process's posterior in each step."""
    key_noise, key_steps = jax.random.split(key)
    predict, levels = self._predict(params, cond), self.spec.levels

    def back(z, step):
      n, t, s = step
      law = self.process.posterior(z, jnp.exp(predict(z, jnp.full(num, t))), t, s)
      return jax.random.categorical(jax.random.fold_in(key_steps, n), jnp.log(law)), None

    ts = jnp.linspace(1.0, 0.0, self.steps + 1)
    z = self.process.draw(key_noise, (num, *self.spec.shape), levels)
    z, _ = jax.lax.scan(back, z, (jnp.arange(self.steps), ts[:-1], ts[1:]))
    return 2.0 * z / (levels - 1) - 1.0

  def log_prob_bound(self, key: Key, params: PyTree, x: Array, cond: Cond = None, num: int = 1) -> Array:
    """A lower bound on log p(x), [B] nats, from `num` steps of the chain for each example, for less noise.

    Raises:
      InputError: `num` is less than 1.
    """
    at_least(1, num=num)
    key_step, key_noise = jax.random.split(key)
    offset = systematic(key_step, len(x))
    predict = self._predict(params, cond)

    def some(i):
      return self._kl(jax.random.fold_in(key_noise, i), predict, x, (offset + i) / num)

    return -jax.lax.map(some, jnp.arange(num)).mean(0)

  def _kl(self, key: Key, predict: Callable[[Array, Array], Array], x: Array, u: Array) -> Array:
    """`chain` times the divergence of the step in which the share u [B] of the chain falls, [B] nats."""
    n = jnp.minimum((u * self.chain).astype(jnp.int32), self.chain - 1)
    s, t = n / self.chain, (n + 1) / self.chain
    levels = self.spec.levels
    x = jnp.round((x + 1) * (levels - 1) / 2).astype(jnp.int32)
    z = self.process.perturb(key, x, t, levels)
    return self.chain * sum_flat(self.process.kl(z, x, predict(z, t), t, s))

  def _predict(self, params: PyTree, cond: Batch | None, **kwargs: Any) -> Callable[[Array, Array], Array]:
    """(z int32 [B, *shape], t [B]) -> log-probabilities of the values, [B, *shape, levels]."""
    levels = self.spec.levels
    cond = self._needed(cond)

    def predict(z, t):
      mask = z == levels
      x = jnp.where(mask, 0.0, 2.0 * z / (levels - 1) - 1.0)
      alpha = jnp.clip(self.process.alpha(t), 1e-4, 1 - 1e-4)
      time = jnp.log((1 - alpha) / alpha) / 4
      planes = jnp.concatenate([x, mask.astype(x.dtype)], axis=-1)
      out = self._net.apply(params, planes, time, cond, **kwargs)
      return jax.nn.log_softmax(out.reshape(*z.shape, levels), axis=-1)

    return predict

  @functools.cached_property
  def _net(self) -> nn.Module:
    return super()._net.clone(out=self.spec.shape[-1] * self.spec.levels)
