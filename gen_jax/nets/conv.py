"""Convolutional networks between an image and a vector."""

import math

import flax.linen as nn
import jax.numpy as jnp

from gen_jax.nets.layers import Conv, Dense, GroupNorm
from gen_jax.types import Array


class Encoder(nn.Module):
  """An image to a vector: convolutions that halve the image each time, then a dense layer.

  Attributes:
    out: shape of the output.
    channels: channels of each level; one level has half the resolution of the one before.
    dtype: compute dtype; parameters and outputs are float32.
  """

  out: tuple[int, ...] = (1,)
  channels: tuple[int, ...] = (32, 64)
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, *out]."""
    h = x
    for channels in self.channels:
      h = Conv(channels, stride=2, dtype=self.dtype)(h)
      h = nn.silu(GroupNorm(8, dtype=self.dtype)(h))
      h = h + nn.silu(Conv(channels, dtype=self.dtype)(h))
    h = Dense(math.prod(self.out), dtype=self.dtype)(h.reshape(len(h), -1))
    return h.reshape(-1, *self.out).astype(jnp.float32)


class Decoder(nn.Module):
  """A vector to an image: a dense layer, then convolutions that double the image each time.

  Works on any image size: each level has half the rows and columns of the next, rounded up.

  Attributes:
    out: shape of the output, (H, W, C).
    channels: channels of each level, the coarsest first.
    dtype: compute dtype; parameters and outputs are float32.
  """

  out: tuple[int, ...] = (1, 1, 1)
  channels: tuple[int, ...] = (64, 32)
  dtype: str = "float32"

  @nn.compact
  def __call__(self, z: Array) -> Array:
    """[B, Z] -> [B, *out]."""
    *size, features = self.out
    levels = len(self.channels)
    height, width = coarse(size, levels)
    h = Dense(height * width * self.channels[0], dtype=self.dtype)(z)
    h = nn.silu(h).reshape(-1, height, width, self.channels[0])
    for level, channels in enumerate(self.channels, start=1):
      h = h + nn.silu(Conv(h.shape[-1], dtype=self.dtype)(h))
      h = Conv(channels, dtype=self.dtype)(h, coarse(size, levels - level))
      h = nn.silu(GroupNorm(8, dtype=self.dtype)(h))
    return Conv(features, dtype=self.dtype)(h).astype(jnp.float32)


def coarse(size: tuple[int, int], halvings: int) -> tuple[int, int]:
  """(H, W) after that many halvings, rounded up each time."""
  height, width = size
  return -(-height // 2**halvings), -(-width // 2**halvings)
