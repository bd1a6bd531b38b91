"""A U-Net for denoising images, after DDPM (2006.11239, appendix B) and ADM (2105.05233, section 3)."""

import flax.linen as nn
import jax.numpy as jnp

from gen_jax.nets.attention import attend
from gen_jax.nets.layers import Condition, Conv, GroupNorm, fold, unfold, upsample
from gen_jax.types import Array


class UNet(nn.Module):
  """Residual blocks at ever coarser resolutions and back, with skip connections between equal ones.

  Works on any image size; an odd one is rounded up on the way down and cropped on the way back.

  Attributes:
    out: output channels; None for as many as the input has.
    channels: channels at the finest level.
    multipliers: channels of each level, in units of `channels`; each level has half the resolution of the one before.
    blocks: residual blocks per level on the way down; one more on the way up.
    attention: the levels (0 is the finest) whose blocks are followed by self-attention; the middle always has one.
    heads: attention heads.
    patch: side of the squares of pixels that the network takes and gives as one; at 2 it costs a quarter.
    dropout: rate inside the residual blocks, when training.
    classes: number of classes; index `classes` is the null label. 0 for an unconditional network.
    dtype: compute dtype; parameters and outputs are float32.
  """

  out: int | None = None
  channels: int = 64
  multipliers: tuple[int, ...] = (1, 2, 2)
  blocks: int = 2
  attention: tuple[int, ...] = (1,)
  heads: int = 4
  patch: int = 1
  dropout: float = 0.0
  classes: int = 0
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array, time: Array, label: Array | None = None, *, train: bool = False) -> Array:
    """x [B, H, W, C], time [B] any reals of order one, label int32 [B] -> [B, H, W, out]."""
    out = (self.out or x.shape[-1]) * self.patch**2
    widths = [self.channels * m for m in self.multipliers]
    cond = Condition(4 * self.channels, self.channels, self.classes, self.dtype)(time, label)

    def block(h, level):
      h = Residual(widths[level], self.dropout, self.dtype)(h, cond, train=train)
      return Attention(self.heads, self.dtype)(h) if level in self.attention else h

    h = Conv(self.channels, dtype=self.dtype)(fold(x, self.patch))
    skips = [h]
    for level in range(len(widths)):
      if level > 0:
        h = Conv(widths[level - 1], stride=2, dtype=self.dtype)(h)
        skips.append(h)
      for _ in range(self.blocks):
        h = block(h, level)
        skips.append(h)

    h = Residual(widths[-1], self.dropout, self.dtype)(h, cond, train=train)
    h = Attention(self.heads, self.dtype)(h)
    h = Residual(widths[-1], self.dropout, self.dtype)(h, cond, train=train)

    for level in reversed(range(len(widths))):
      for _ in range(self.blocks + 1):
        h = block(jnp.concatenate([h, skips.pop()], axis=-1), level)
      if level > 0:
        height, width = skips[-1].shape[1:3]
        h = Conv(h.shape[-1], dtype=self.dtype)(upsample(h, height, width))

    h = nn.silu(GroupNorm(dtype=self.dtype)(h))
    return unfold(Conv(out, zero=True, dtype=self.dtype)(h), self.patch).astype(jnp.float32)


class Residual(nn.Module):
  """x + conv(silu(norm(conv(silu(norm(x)))))), the second norm scaled and shifted by `cond`.

  Attributes:
    features: output channels.
    dropout: rate before the second convolution.
    dtype: compute dtype.
  """

  features: int
  dropout: float = 0.0
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array, cond: Array, *, train: bool = False) -> Array:
    """x [B, H, W, C], cond [B, E] -> [B, H, W, features]."""
    h = Conv(self.features, dtype=self.dtype)(nn.silu(GroupNorm(dtype=self.dtype)(x)))
    scale, shift = jnp.split(nn.Dense(2 * self.features, dtype=self.dtype)(cond), 2, axis=-1)
    h = nn.silu(GroupNorm(dtype=self.dtype)(h, scale, shift))
    h = nn.Dropout(self.dropout)(h, deterministic=not train)
    h = Conv(self.features, zero=True, dtype=self.dtype)(h)
    if x.shape[-1] != self.features:
      x = Conv(self.features, kernel=1, dtype=self.dtype)(x)
    return x + h


class Attention(nn.Module):
  """x + self-attention between all positions of norm(x), starting at the identity.

  Attributes:
    heads: number of heads; divides the channels.
    dtype: compute dtype.
  """

  heads: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> the same shape."""
    batch, height, width, channels = x.shape
    h = GroupNorm(dtype=self.dtype)(x).reshape(batch, height * width, channels)
    h = nn.Dense(3 * channels, dtype=self.dtype)(h).reshape(batch, height * width, 3, self.heads, -1)
    h = attend(h[:, :, 0], h[:, :, 1], h[:, :, 2]).reshape(x.shape)
    return x + nn.Dense(channels, dtype=self.dtype, kernel_init=nn.initializers.zeros_init())(h)
