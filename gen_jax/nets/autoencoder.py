"""Convolutional networks between an image and a smaller grid of codes, as arXiv:2112.10752, section 3.1, has them."""

import flax.linen as nn
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.nets.conv import coarse
from gen_jax.nets.layers import Conv, GroupNorm
from gen_jax.nets.unet import Attention, Residual
from gen_jax.types import Array


class Encoder(nn.Module):
  """An image to a grid: residual blocks at ever coarser resolutions, and attention at the last.

  Attributes:
    out: channels of the grid.
    channels: channels at the finest level.
    multipliers: channels of each level, in units of `channels`; each level has half the resolution of the one before,
      so that three make a grid of a quarter of the rows and columns.
    blocks: residual blocks per level.
    attention: whether all places of the grid attend to each other.
    dtype: compute dtype; parameters and outputs are float32.
  """

  out: int = 1
  channels: int = 64
  multipliers: tuple[int, ...] = (1, 2, 4)
  blocks: int = 2
  attention: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, h, w, out]."""
    h = Conv(self.channels, dtype=self.dtype)(x)
    for level, multiplier in enumerate(self.multipliers):
      if level > 0:
        h = Conv(h.shape[-1], stride=2, dtype=self.dtype)(h)
      for _ in range(self.blocks):
        h = Residual(self.channels * multiplier, dtype=self.dtype)(h)
    h = _Middle(self.attention, self.dtype)(h)
    h = nn.silu(GroupNorm(dtype=self.dtype)(h))
    return Conv(self.out, dtype=self.dtype)(h).astype(jnp.float32)


class Decoder(nn.Module):
  """A grid to an image: the encoder backwards, with one more residual block per level.

  Works on any image size: each level has half the rows and columns of the next, rounded up.

  Attributes:
    out: shape of the output, (H, W, C).
    channels: channels at the finest level.
    multipliers: channels of each level, the finest first, as the encoder's.
    blocks: residual blocks per level, less one.
    attention: whether all places of the grid attend to each other.
    dtype: compute dtype; parameters and outputs are float32.
  """

  out: tuple[int, ...] = (1, 1, 1)
  channels: int = 64
  multipliers: tuple[int, ...] = (1, 2, 4)
  blocks: int = 2
  attention: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(self, z: Array) -> Array:
    """[B, h, w, C] -> [B, *out].

    Raises:
      InputError: the grid is not the one that images of this size have.
    """
    *size, features = self.out
    last = len(self.multipliers) - 1
    if z.shape[1:3] != coarse(size, last):
      got, wanted = (f"{h}x{w}" for h, w in (z.shape[1:3], coarse(size, last)))
      raise InputError(f"decoder: it takes codes of {wanted}, not {got}: give it as many multipliers as the encoder")
    h = Conv(self.channels * self.multipliers[-1], dtype=self.dtype)(z)
    h = _Middle(self.attention, self.dtype)(h)
    for level in reversed(range(last + 1)):
      for _ in range(self.blocks + 1):
        h = Residual(self.channels * self.multipliers[level], dtype=self.dtype)(h)
      if level > 0:
        h = Conv(h.shape[-1], dtype=self.dtype)(h, coarse(size, level - 1))
    h = nn.silu(GroupNorm(dtype=self.dtype)(h))
    return Conv(features, dtype=self.dtype)(h).astype(jnp.float32)


class _Middle(nn.Module):
  """Two residual blocks, attention of one head between them: [B, H, W, C] -> the same shape."""

  attention: bool
  dtype: str

  @nn.compact
  def __call__(self, h: Array) -> Array:
    h = Residual(h.shape[-1], dtype=self.dtype)(h)
    h = Attention(1, dtype=self.dtype)(h) if self.attention else h
    return Residual(h.shape[-1], dtype=self.dtype)(h)
