"""A U-Net for denoising images, with the choices of DDPM, ADM and NCSN++."""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from gen_jax.errors import InputError, require
from gen_jax.nets.attention import MultiHead, Tokens, check_levels
from gen_jax.nets.condition import Condition
from gen_jax.nets.layers import Conv, Dense, GroupNorm, blur, downsample, dropout, fold, remat, unfold, upsample
from gen_jax.types import Array, Cond, Entry


class UNet(nn.Module):
  """Residual blocks at ever coarser resolutions and back, with skip connections between equal ones.

  DDPM (2006.11239, appendix B): told="sum", heads=1. ADM (2105.05233, section 3): resample="block", head_channels=64,
  more levels with attention. NCSN++ (2011.13456, appendix H): told="sum", heads=1, resample="block", smooth=True,
  rescale=True, progressive=True. Works on any image size; an odd one is rounded up on the way down and
  cropped on the way back.

  Attributes:
    out: output channels; None for as many as the input has.
    channels: channels at the finest level.
    multipliers: channels of each level, in units of `channels`; each level has half the resolution of the one before.
    blocks: residual blocks per level on the way down; one more on the way up.
    attention: the levels (0 is the finest) whose blocks are followed by self-attention; the middle always has one.
    heads: attention heads.
    head_channels: channels of a head, which then decide how many there are; None for `heads` of them everywhere.
    told: how a block learns of the time and of labels: "scale", they scale and shift its second norm; "sum", they are
      added before it.
    resample: what goes from level to level: "conv", a convolution; "block", a residual block.
    smooth: whether residual blocks that resample filter by (1, 3, 3, 1), rather than take means and repeat; and the
      input before a convolution shrinks it.
    rescale: divide each sum of a residual branch by sqrt(2), which keeps its variance.
    progressive: add the input, shrunk by convolutions, at each level.
    patch: side of the squares of pixels that the network takes and gives as one; at 2 it costs a quarter.
    dropout: rate inside the residual blocks, when training.
    remat: recompute the inside of blocks on the way back rather than keep it: less memory for a third more time.
    conditions: what it is conditioned on beside the time.
    text_depth: blocks of the transformer that reads text, where there is some.
    dtype: compute dtype; parameters and outputs are float32.
  """

  out: int | None = None
  channels: int = 64
  multipliers: tuple[int, ...] = (1, 2, 2)
  blocks: int = 2
  attention: tuple[int, ...] = (1,)
  heads: int = 4
  head_channels: int | None = None
  told: Literal["scale", "sum"] = "scale"
  resample: Literal["conv", "block"] = "conv"
  smooth: bool = False
  rescale: bool = False
  progressive: bool = False
  patch: int = 1
  dropout: float = 0.0
  remat: bool = False
  conditions: tuple[Entry, ...] = ()
  text_depth: int = 2
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, x: Array, time: Array, cond: Cond = None, hidden: Array | None = None, *, train: bool = False
  ) -> Array:
    """x [B, H, W, C], time [B] any reals of order one, cond and hidden as in `Condition` -> [B, H, W, out].

    Raises:
      InputError: attention at a level that there is not, or in heads that do not divide it; a patch that does not
        divide the image; another way to be told, or sums at levels of so few channels that a norm takes them away.
    """
    require(**{"net.told": (self.told, self.told in ("scale", "sum"), "scale or sum")})
    check_levels(self.attention, len(self.multipliers))
    out = (self.out or x.shape[-1]) * self.patch**2
    widths = [self.channels * m for m in self.multipliers]
    condition = Condition(4 * self.channels, self.channels, self.conditions, self.text_depth, self.dtype)
    told = condition(x, time, cond, hidden)
    residual, attention = self._parts(told.vector, told.tokens, train)

    def block(h, level):
      h = residual(widths[level])(h)
      return attention(h) if level in self.attention else h

    pyramid = x = fold(told.x, self.patch)
    h = Conv(self.channels, dtype=self.dtype)(x)
    skips = [h]
    for level in range(len(widths)):
      if level > 0:
        size = tuple(-(-n // 2) for n in h.shape[1:3])
        h = self._resample(h, widths[level - 1], size, residual)
        if self.progressive:
          pyramid = Conv(h.shape[-1], stride=2, dtype=self.dtype)(blur(pyramid) if self.smooth else pyramid)
          h = pyramid = _add(h, pyramid, self.rescale)
        skips.append(h)
      for _ in range(self.blocks):
        h = block(h, level)
        skips.append(h)

    h = residual(widths[-1])(h)
    h = attention(h)
    h = residual(widths[-1])(h)

    for level in reversed(range(len(widths))):
      for _ in range(self.blocks + 1):
        h = block(jnp.concatenate([h, skips.pop()], axis=-1), level)
      if level > 0:
        h = self._resample(h, h.shape[-1], skips[-1].shape[1:3], residual)

    h = nn.silu(GroupNorm(dtype=self.dtype)(h))
    return unfold(Conv(out, zero=True, dtype=self.dtype)(h), self.patch).astype(jnp.float32)

  def _parts(self, vector: Array, tokens: Tokens | None, train: bool) -> tuple[Callable, Callable]:
    """(features, size -> a residual block, an attention block), as functions of the image alone."""
    wrap = remat if self.remat else lambda kind, static: kind

    def residual(features, size=None):
      block = wrap(Residual, (3,))(features, self.dropout, size, self.told, self.smooth, self.rescale, self.dtype)
      return lambda h: block(h, vector, train)

    def attention(h):
      if self.head_channels and h.shape[-1] % self.head_channels:
        raise InputError(
          f"net.head_channels = {self.head_channels} does not divide the {h.shape[-1]} channels of a level"
        )
      heads = h.shape[-1] // self.head_channels if self.head_channels else self.heads
      return wrap(Attention, ())(heads, self.rescale, self.dtype)(h, tokens)

    return residual, attention

  def _resample(self, h: Array, features: int, size: tuple[int, int], residual: Callable) -> Array:
    """[B, H, W, C] -> [B, *size, features], to half or twice the size."""
    if self.resample == "block":
      return residual(features, size)(h)
    if size < h.shape[1:3]:
      return Conv(features, stride=2, dtype=self.dtype)(h)
    return Conv(features, dtype=self.dtype)(h, size)


class Residual(nn.Module):
  """x + conv(silu(norm(conv(silu(norm(x)))))), told of the condition's vector, if any, at the second norm.

  Attributes:
    features: output channels.
    dropout: rate before the second convolution.
    size: height and width of the output, half or twice those of the input; None for the same.
    told: whether the vector scales and shifts that norm, or is added before it: "scale" or "sum".
    smooth: whether it filters on the way there.
    rescale: divide the sum by sqrt(2).
    dtype: compute dtype.
  """

  features: int
  dropout: float = 0.0
  size: tuple[int, int] | None = None
  told: Literal["scale", "sum"] = "scale"
  smooth: bool = False
  rescale: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array, vector: Array | None = None, train: bool = False) -> Array:
    """x [B, H, W, C], vector [B, E] -> [B, H, W, features], or of the other size."""
    h = nn.silu(GroupNorm(dtype=self.dtype)(x))
    repeated = None
    if self.size is not None:
      smaller = self.size < x.shape[1:3]
      resize = lambda h: downsample(h, self.smooth) if smaller else upsample(h, *self.size, self.smooth)
      x, repeated = resize(x), None if smaller or self.smooth else self.size
      h = h if repeated else resize(h)
    h = Conv(self.features, dtype=self.dtype)(h, repeated)
    modulation = ()
    if vector is not None and self.told == "scale":
      modulation = jnp.split(Dense(2 * self.features, dtype=self.dtype)(vector), 2, axis=-1)
    elif vector is not None:
      if self.features <= GroupNorm.groups:
        raise InputError(
          f'net.told = "sum" is lost on {self.features} channels, each of which is normed by itself: set told="scale", '
          f"or channels to more than {GroupNorm.groups}"
        )
      h = h + Dense(self.features, dtype=self.dtype)(vector)[:, None, None]
    h = nn.silu(GroupNorm(dtype=self.dtype)(h, *modulation))
    h = dropout(h, self.dropout, train)
    h = Conv(self.features, zero=True, dtype=self.dtype)(h)
    if x.shape[-1] != self.features:
      x = Conv(self.features, kernel=1, dtype=self.dtype)(x)
    return _add(x, h, self.rescale)


class Attention(nn.Module):
  """x + self-attention between all positions of norm(x), then to `tokens` if there are any; it starts at the identity.

  Attributes:
    heads: number of heads; divides the channels.
    rescale: divide each sum by sqrt(2).
    dtype: compute dtype.
  """

  heads: int
  rescale: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array, tokens: Tokens | None = None) -> Array:
    """[B, H, W, C] -> the same shape."""

    def attend(x, *source):
      h = GroupNorm(dtype=self.dtype)(x).reshape(len(x), -1, x.shape[-1])
      h = MultiHead(self.heads, zero=True, dtype=self.dtype)(h, *source)
      return _add(x, h.reshape(x.shape), self.rescale)

    x = attend(x)
    return x if tokens is None else attend(x, *tokens)


def _add(x: Array, h: Array, rescale: bool) -> Array:
  """x + h, or (x + h) / sqrt(2)."""
  return (x + h) * 0.5**0.5 if rescale else x + h
