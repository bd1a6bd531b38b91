"""The two players of a GAN on images: DCGAN (1511.06434) for any image size and without batch statistics."""

import math

import flax.linen as nn
import jax.numpy as jnp

from gen_jax.nets.conv import coarse
from gen_jax.nets.layers import Dense, GroupNorm, Layer
from gen_jax.ops.convolution import convolve, transposed
from gen_jax.types import Array


class Generator(nn.Module):
  """A code to an image: a dense layer, then transposed convolutions that double the image each time.

  Each level has half the rows and columns of the next, rounded up.

  Attributes:
    out: shape of the output, (H, W, C).
    channels: channels of each level, the coarsest first.
    dtype: compute dtype; parameters and outputs are float32.
  """

  out: tuple[int, ...] = (1, 1, 1)
  channels: tuple[int, ...] = (128, 64)
  dtype: str = "float32"

  @nn.compact
  def __call__(self, z: Array) -> Array:
    """[B, Z] -> [B, *out]."""
    *size, features = self.out
    levels = len(self.channels)
    height, width = coarse(size, levels)
    h = Dense(height * width * self.channels[0], dtype=self.dtype)(z).reshape(-1, height, width, self.channels[0])
    for level, channels in enumerate([*self.channels[1:], features], start=1):
      h = nn.relu(GroupNorm(8, dtype=self.dtype)(h))
      h = Up(channels, size=coarse(size, levels - level), dtype=self.dtype)(h)
    return h.astype(jnp.float32)


class Discriminator(nn.Module):
  """An image to a logit: convolutions that halve the image each time, leaky rectifiers, then a dense layer.

  Attributes:
    out: shape of the output.
    channels: channels of each level, the finest first.
    dtype: compute dtype; parameters and outputs are float32.
  """

  out: tuple[int, ...] = ()
  channels: tuple[int, ...] = (64, 128)
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, *out]."""
    h = x
    for channels in self.channels:
      h = nn.leaky_relu(Down(channels, dtype=self.dtype)(h), 0.2)
    h = Dense(math.prod(self.out), dtype=self.dtype)(h.reshape(len(h), -1))
    return h.reshape(-1, *self.out).astype(jnp.float32)


class Down(Layer):
  """Convolution of windows of 4x4 with stride 2: [B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), features]."""

  features: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (4, 4, x.shape[-1], self.features)
    w = self.param("kernel", nn.initializers.he_normal(), shape)
    bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
    return convolve(x.astype(self.dtype), w.astype(self.dtype), 2) + bias.astype(self.dtype)


class Up(Layer):
  """The transpose of `Down`: [B, ceil(H / 2), ceil(W / 2), C] -> [B, H, W, features], for `size` = (H, W)."""

  features: int
  size: tuple[int, int]
  dtype: str = "float32"

  @nn.compact
  def __call__(self, y: Array) -> Array:
    shape = (4, 4, self.features, y.shape[-1])
    # A quarter of the window reaches each output pixel, and half of what rectifiers pass is zero: 8 keeps the variance.
    w = self.param("kernel", nn.initializers.variance_scaling(8.0, "fan_in", "normal", in_axis=-1, out_axis=-2), shape)
    bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
    return transposed(y.astype(self.dtype), w.astype(self.dtype), self.size, 2) + bias.astype(self.dtype)
