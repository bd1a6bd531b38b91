"""EDM2's U-Net (2312.02696): layers that keep the magnitude of what passes through them, and that of their weights."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from gen_jax.errors import InputError
from gen_jax.nets.attention import Tokens, attend, check_levels
from gen_jax.nets.condition import Condition
from gen_jax.nets.layers import Layer, downsample, dropout, remat, upsample
from gen_jax.ops.convolution import convolve
from gen_jax.types import Array, Cond, Entry

_CLIP = 256.0  # activations beyond this are cut off, for the sake of half precision


class UNet(Layer):
  """The network of configuration G (figure 21): no biases, no group normalisation, and one gain for each block.

  Train it with `optimizer.unit=("direction",)`. Works on any image size; an odd one is rounded up on the way down and
  cropped on the way back. Conditions are read by the layers that read them for the other networks, and normalised.

  Attributes:
    out: output channels; None for as many as the input has.
    channels: channels at the finest level.
    multipliers: channels of each level, in units of `channels`; each level has half the resolution of the one before.
    blocks: residual blocks per level on the way down; one more on the way up.
    attention: the levels (0 is the finest) whose blocks end with self-attention; the middle always has one.
    head_channels: channels of an attention head; divides those of the levels with attention.
    dropout: rate inside the blocks, when training.
    remat: recompute the inside of blocks on the way back rather than keep it: less memory for a third more time.
    conditions: what it is conditioned on beside the time.
    text_depth: blocks of the transformer that reads text, where there is some.
    dtype: compute dtype; parameters and outputs are float32.
  """

  out: int | None = None
  channels: int = 192
  multipliers: tuple[int, ...] = (1, 2, 3, 4)
  blocks: int = 3
  attention: tuple[int, ...] = (2, 3)
  head_channels: int = 64
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
      InputError: attention at a level that there is not; heads that do not divide the channels.
    """
    check_levels(self.attention, len(self.multipliers))
    out, widths = self.out or x.shape[-1], [self.channels * m for m in self.multipliers]
    x, vector, tokens = self._told(x, time, cond, hidden, max(widths))
    block = self._blocks(vector, tokens, train)

    one = jnp.ones((*x.shape[:-1], 1), x.dtype)  # a layer that wants a bias can make one of this
    h = Linear(widths[0], (3, 3), dtype=self.dtype)(jnp.concatenate([x, one], axis=-1))
    skips = [h]
    for level, width in enumerate(widths):
      if level > 0:
        h = block(h, h.shape[-1], size=tuple(-(-n // 2) for n in h.shape[1:3]))
        skips.append(h)
      for _ in range(self.blocks):
        h = block(h, width, attention=level in self.attention)
        skips.append(h)

    h = block(h, widths[-1], attention=True, decoder=True)
    h = block(h, widths[-1], decoder=True)

    for level, width in reversed(list(enumerate(widths))):
      for _ in range(self.blocks + 1):
        h = block(join(h, skips.pop()), width, attention=level in self.attention, decoder=True)
      if level > 0:
        h = block(h, width, size=skips[-1].shape[1:3], decoder=True)

    gain = self.param("gain", nn.initializers.zeros_init(), ())
    return Linear(out, (3, 3), dtype=self.dtype)(h, gain).astype(jnp.float32)

  def _told(
    self, x: Array, time: Array, cond: Cond, hidden: Array | None, features: int
  ) -> tuple[Array, Array, Tokens | None]:
    """(x and the planes beside it, the time and the labels [B, features], tokens)."""
    x, labels, tokens = Condition(features, 0, self.conditions, self.text_depth, self.dtype)(x, time, cond, hidden)
    vector = Linear(features, dtype=self.dtype)(fourier(time, self.channels))
    if labels is not None:
      vector = add(vector, normalize(labels), 0.5)
    return x, silu(vector), tokens and tokens._replace(value=normalize(tokens.value))

  def _blocks(self, vector: Array, tokens: Tokens | None, train: bool) -> Callable:
    """(h, features, ...) -> h after a block of these."""
    kind = remat(Block, (4,)) if self.remat else Block

    def block(h, features, *, attention=False, **fields):
      if attention and features % self.head_channels:
        raise InputError(f"net.head_channels = {self.head_channels} does not divide the {features} channels of a level")
      heads = features // self.head_channels if attention else 0
      return kind(features, heads, dropout=self.dropout, dtype=self.dtype, **fields)(h, vector, tokens, train)

    return block


class Block(Layer):
  """A residual block, then attention if there are heads: one of figure 21's.

  In the encoder the stream is normalised before it branches, and only there.

  Attributes:
    features: output channels.
    heads: attention heads; 0 for none.
    decoder: whether it is on the way up.
    size: height and width of the output, half or twice those of the input; None for the same.
    dropout: rate before the second convolution.
    dtype: compute dtype.
  """

  features: int
  heads: int = 0
  decoder: bool = False
  size: tuple[int, int] | None = None
  dropout: float = 0.0
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array, vector: Array, tokens: Tokens | None = None, train: bool = False) -> Array:
    """x [B, H, W, C], vector [B, E] -> [B, H, W, features], or of the other size; to `tokens` it attends as well."""
    if self.size is not None:
      x = downsample(x) if self.size < x.shape[1:3] else upsample(x, *self.size)
    skip = x if x.shape[-1] == self.features else Linear(self.features, dtype=self.dtype)(x)
    if not self.decoder:
      x = skip = normalize(skip)
    gain = self.param("gain", nn.initializers.zeros_init(), ())
    scale = 1 + Linear(self.features, dtype=self.dtype)(vector, gain)[:, None, None]
    h = Linear(self.features, (3, 3), dtype=self.dtype)(silu(x))
    h = dropout(silu(h * scale), self.dropout, train)
    h = Linear(self.features, (3, 3), dtype=self.dtype)(h)
    x = add(skip, h)
    if self.heads:
      x = Attention(self.heads, self.dtype)(x)
      if tokens is not None:
        x = Attention(self.heads, self.dtype)(x, *tokens)
    return jnp.clip(x, -_CLIP, _CLIP)


class Attention(nn.Module):
  """The sum of x and of what it attends to, by the cosines between queries and keys: all three are normalised.

  Attributes:
    heads: number of heads; divides the channels.
    dtype: compute dtype.
  """

  heads: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array, source: Array | None = None, seen: Array | None = None) -> Array:
    """x [B, H, W, C]; what it attends to, source [B, S, D], itself by default; seen bool [B, S] -> [B, H, W, C]."""
    channels = x.shape[-1]
    query = x.reshape(len(x), -1, channels)
    source = query if source is None else source
    dense = lambda h: Linear(channels, dtype=self.dtype)(h)
    split = lambda h: normalize(dense(h).reshape(*h.shape[:2], self.heads, -1))
    return add(x, dense(attend(split(query), split(source), split(source), seen).reshape(x.shape)))


class Linear(Layer):
  """A linear map of channels, or a convolution, whose output is of the magnitude of its input.

  The weights of an output channel are gain direction / |direction| (eq. 47). How long a direction is only decides how
  far a step of the optimiser turns it: `Optimizer.unit` keeps the root mean square at which it starts, 1 (eq. 66).

  Attributes:
    features: output channels.
    window: of the convolution, an odd number of pixels each way; () for none.
    dtype: compute dtype; the parameters are float32.
  """

  features: int
  window: tuple[int, ...] = ()
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array, gain: float | Array = 1.0) -> Array:
    """[B, ..., C] -> [B, ..., features]."""
    shape = (*self.window, x.shape[-1], self.features)
    w = self.param("direction", nn.initializers.normal(1.0), shape)
    w = normalize(w, range(w.ndim - 1)) * (gain / math.sqrt(math.prod(shape[:-1])))
    x, w = x.astype(self.dtype), w.astype(self.dtype)
    return convolve(x, w) if self.window else x @ w


def normalize(x: Array, axes: int | range = -1) -> Array:
  """x at a root mean square of 1 along `axes`; over channels this is pixel normalisation (1710.10196, section 4.2)."""
  axes = axes if isinstance(axes, int) else tuple(axes)
  square = jnp.square(x.astype(jnp.float32)).mean(axes, keepdims=True)
  return x * jax.lax.rsqrt(square + 1e-8).astype(x.dtype)


def silu(x: Array) -> Array:
  """silu(x) / 0.596, which has the magnitude of x where that is standard normal (eq. 81)."""
  return nn.silu(x) / 0.596


def add(x: Array, h: Array, share: float = 0.3) -> Array:
  """(1 - share) x + share h at the magnitude of both, if they are uncorrelated (eq. 88)."""
  return ((1 - share) * x + share * h) / math.hypot(1 - share, share)


def join(x: Array, h: Array) -> Array:
  """x and h as channels of one, at the magnitude of both, with as much of it from either (eq. 103 with t = 1/2)."""
  num, other = x.shape[-1], h.shape[-1]
  scale = lambda n: math.sqrt((num + other) / (2 * n))
  return jnp.concatenate([scale(num) * x, scale(other) * h], axis=-1)


def fourier(time: Array, features: int) -> Array:
  """sqrt(2) cos(2 pi (f time + phase)) (eq. 75): [B] -> [B, features], or [B, K] -> [B, K features].

  The frequencies are quantiles of the standard normal and the phases spread evenly, where the paper draws both, so that
  there is nothing to keep.
  """
  i = np.arange(features)
  frequency = ndtri((i + 0.5) / features)
  phase = i * (math.sqrt(5) - 1) / 2 % 1.0
  waves = jnp.cos(2 * jnp.pi * (time.astype(jnp.float32)[..., None] * frequency + phase))
  return math.sqrt(2) * waves.reshape(len(time), -1)
