"""Multilayer perceptrons."""

import math

import flax.linen as nn
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.nets.condition import Condition
from gen_jax.nets.layers import Dense, dropout
from gen_jax.types import Array, Cond, Entry


class MLP(nn.Module):
  """Dense layers with SiLU between them.

  Attributes:
    out: size of the output, or its shape.
    width: size of the hidden layers.
    depth: number of hidden layers.
    dtype: compute dtype; parameters and outputs are float32.
  """

  out: int | tuple[int, ...] = 1
  width: int = 128
  depth: int = 2
  dtype: str = "float32"

  @nn.compact
  def __call__(self, *inputs: Array) -> Array:
    """Inputs [B, ...] of any shape, flattened and joined -> [B, *out]."""
    h = jnp.concatenate([i.reshape(i.shape[0], -1) for i in inputs], axis=-1)
    for _ in range(self.depth):
      h = nn.silu(Dense(self.width, dtype=self.dtype)(h))
    out = (self.out,) if isinstance(self.out, int) else tuple(self.out)
    h = Dense(math.prod(out), dtype=self.dtype)(h)
    return h.reshape(-1, *out).astype(jnp.float32)


class TimeMLP(nn.Module):
  """A denoising network for vectors: residual blocks, each conditioned on the time and the labels.

  Attributes:
    width: size of the residual stream.
    depth: number of blocks.
    dropout: rate inside the blocks, when training.
    conditions: what it is conditioned on beside the time: labels.
    dtype: compute dtype; parameters and outputs are float32.
  """

  width: int = 128
  depth: int = 3
  dropout: float = 0.0
  conditions: tuple[Entry, ...] = ()
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, x: Array, time: Array, cond: Cond = None, hidden: Array | None = None, *, train: bool = False
  ) -> Array:
    """x [B, D], time [B] any reals of order one, cond and hidden as in `Condition` -> [B, D].

    Raises:
      InputError: a condition that is no label.
    """
    for entry in self.conditions:
      if entry.kind != "label":
        raise InputError(f"mlp.TimeMLP takes labels, not {entry.kind} such as {entry.name!r}: choose another net")
    dense = lambda features, **kwargs: Dense(features, dtype=self.dtype, **kwargs)
    told = Condition(self.width, 32, self.conditions, dtype=self.dtype)(x, time, cond, hidden).vector
    h = dense(self.width)(x)
    for _ in range(self.depth):
      scale, shift = jnp.split(dense(2 * self.width)(told), 2, axis=-1)
      g = nn.silu(nn.LayerNorm(dtype=self.dtype)(h) * (1 + scale) + shift)
      g = dropout(nn.silu(dense(self.width)(g)), self.dropout, train)
      h = h + dense(self.width, kernel_init=nn.initializers.zeros_init())(g)
    return dense(x.shape[-1], kernel_init=nn.initializers.zeros_init())(nn.silu(h)).astype(jnp.float32)
