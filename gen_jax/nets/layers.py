"""The layers that image networks are made of: convolution, group normalisation, dropout, resampling, embeddings."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.ops.convolution import convolve, enlarged
from gen_jax.ops.normalization import group_norm
from gen_jax.types import Array


class Layer(nn.Module):
  """A module whose parameters are taken as they are once there are any.

  Flax traces their first values anew at every application, to compare shapes: a tenth of the time that tracing takes.
  """

  @nn.nowrap
  def param(self, name: str, *first: Any, **kwargs: Any) -> Array:
    """The parameter of this name, or what `first` makes of a key where there is none yet."""
    if self.has_variable("params", name):
      return self.get_variable("params", name)
    return super().param(name, *first, **kwargs)


class Conv(Layer):
  """2-D convolution with "SAME" padding, in the formulation that is fastest on the backend at hand.

  Attributes:
    features: output channels.
    kernel: side of the square window.
    stride: step of the window; the output has ceil(size / stride) rows and columns.
    bias: whether to add a learned bias.
    zero: start at zero, for the last layer of a residual branch and of a network.
    dtype: compute dtype; the parameters are float32.
  """

  features: int
  kernel: int = 3
  stride: int = 1
  bias: bool = True
  zero: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array, size: tuple[int, int] | None = None) -> Array:
    """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]; with a `size`, of `upsample(x, *size)`."""
    init = nn.initializers.zeros_init() if self.zero else nn.initializers.lecun_normal()
    w = self.param("kernel", init, (self.kernel, self.kernel, x.shape[-1], self.features)).astype(self.dtype)
    x = x.astype(self.dtype)
    if size == (2 * x.shape[1], 2 * x.shape[2]) and (self.kernel, self.stride) == (3, 1):
      y = enlarged(x, w)
    else:
      y = convolve(x if size is None else upsample(x, *size), w, self.stride)
    if self.bias:
      y = y + self.param("bias", nn.initializers.zeros_init(), (self.features,)).astype(self.dtype)
    return y


class Dense(Layer, nn.Dense):
  """Flax's `Dense`, over the rows of a matrix: any other leading dimensions are put together first.

  XLA's CPU compiler copies cotangents of more dimensions into another layout for the gradient of the kernel, which then
  takes nearly twice as long.
  """

  def __call__(self, x: Array) -> Array:
    """[..., D] -> [..., features]."""
    return super().__call__(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], self.features)


class GroupNorm(Layer):
  """Group normalisation with a learned gain and shift for each channel (1803.08494, eq. 1-2 and 6).

  Attributes:
    groups: most groups there may be; there are as many as divide the channels.
    eps: added to the variance.
    dtype: dtype of the result.
  """

  groups: int = 32
  eps: float = 1e-5
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array, scale: Array | None = None, shift: Array | None = None) -> Array:
    """[B, ..., C] -> the same shape; given `scale` and `shift` [B, C]: norm(x) (1 + scale) + shift.

    The latter is how the time and the label condition a network (2105.05233, eq. 3).
    """
    channels = x.shape[-1]
    groups = max(g for g in range(1, min(self.groups, channels) + 1) if channels % g == 0)
    gain = self.param("scale", nn.initializers.ones_init(), (channels,))
    bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
    return group_norm(x, groups, self.eps, gain, bias, scale, shift).astype(self.dtype)


def remat(kind: type[nn.Module], static: tuple[int, ...] = ()) -> type[nn.Module]:
  """`nn.remat` under the module's own name, on which its parameters, their first values and dropout depend.

  Args:
    kind: what is computed again on the way back.
    static: places of arguments that are no arrays, the module's own being 0.
  """
  out = nn.remat(kind, static_argnums=static)
  out.__name__ = kind.__name__
  return out


def dropout(x: Array, rate: float, train: bool) -> Array:
  """x with a share `rate` of its entries at zero and the others larger by as much, when training.

  Raises:
    InputError: a rate that is no share.
  """
  if not 0 <= rate < 1:
    raise InputError(f"net.dropout = {rate} should be at least 0 and less than 1")
  return nn.Dropout(rate)(x, deterministic=not train)


def upsample(x: Array, height: int, width: int, smooth: bool = False) -> Array:
  """Upsampling by 2, [B, H, W, C] -> [B, height, width, C]; an odd size loses the last line.

  Pixels are repeated, or if `smooth` filtered by (1, 3, 3, 1) / 4, which is linear interpolation; at the border both do
  the same.
  """
  for axis in (1, 2):
    x = _widened(x, axis) if smooth else jnp.repeat(x, 2, axis=axis)
  return x[:, :height, :width]


def downsample(x: Array, smooth: bool = False) -> Array:
  """Downsampling by 2, [B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), C].

  The mean of every square of 2x2, or if `smooth` the filter (1, 3, 3, 1) / 8 along both axes, which aliases less
  (arXiv:1904.11486); beyond the border is what is at it.
  """
  if not smooth:
    return nn.avg_pool(x, (2, 2), (2, 2), "SAME", count_include_pad=False)
  return _thinned(_thinned(x, 1), 2)


def blur(x: Array) -> Array:
  """The filter (1, 3, 3, 1) / 8 along both axes, before a convolution of stride 2: [B, H, W, C] -> the same shape.

  What that convolution has at its centre is then `downsample(x, smooth=True)`.
  """
  for axis in (1, 2):
    odd = x.shape[axis] % 2  # where "SAME" begins
    x = _filtered(_edged(x, axis, 2 - odd, 1 + odd), axis, x.shape[axis], 1)
  return x


def _widened(x: Array, axis: int) -> Array:
  """Twice as many, each a quarter of the way from its pixel to a neighbour of it."""
  padded, size = _edged(x, axis, 1, 1), x.shape[axis]
  before, after = (jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in (0, 2))
  pair = jnp.stack([(before + 3 * x) / 4, (3 * x + after) / 4], axis=axis + 1)
  return pair.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def _thinned(x: Array, axis: int) -> Array:
  """Half as many, each of four neighbours."""
  half = -(-x.shape[axis] // 2)
  padded = _edged(x, axis, 1, 1 + x.shape[axis] % 2)
  return _filtered(padded, axis, half, 2)


def _filtered(padded: Array, axis: int, size: int, stride: int) -> Array:
  """`size` sums of four neighbours, `stride` apart."""
  a, b, c, d = (jax.lax.slice_in_dim(padded, i, i + stride * (size - 1) + 1, stride, axis) for i in range(4))
  return (a + 3 * b + 3 * c + d) / 8


def _edged(x: Array, axis: int, before: int, after: int) -> Array:
  return jnp.pad(x, [(before, after) if i == axis else (0, 0) for i in range(x.ndim)], mode="edge")


def fold(x: Array, side: int) -> Array:
  """Squares of pixels as channels: [B, H, W, C] -> [B, H / side, W / side, side^2 C].

  Raises:
    InputError: `side` does not divide the image.
  """
  batch, height, width, channels = x.shape
  if height % side or width % side:
    raise InputError(f"patches of {side} pixels do not divide images of {height}x{width}: choose another patch")
  x = x.reshape(batch, height // side, side, width // side, side, channels)
  return x.swapaxes(2, 3).reshape(batch, height // side, width // side, -1)


def unfold(x: Array, side: int) -> Array:
  """The inverse of `fold`: [B, H, W, side^2 C] -> [B, side H, side W, C]."""
  batch, height, width, _ = x.shape
  x = x.reshape(batch, height, width, side, side, -1)
  return x.swapaxes(2, 3).reshape(batch, side * height, side * width, -1)


def fourier(time: Array, features: int, *, low: float = 1 / 32, high: float = 4.0) -> Array:
  """cos and sin of `time` at frequencies spaced geometrically from `low` to `high` cycles per unit.

  [B] -> [B, features]; [B, K], as for a network of where a step starts and how long it is, -> [B, K features].
  Made for times of order one, such as a quarter of a log signal-to-noise ratio or of log sigma: the slowest wave is
  monotonous over |time| < 8, the fastest resolves hundredths.
  """
  half = features // 2
  angles = 2 * jnp.pi * jnp.geomspace(low, high, half) * time.astype(jnp.float32)[..., None]
  waves = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
  return jnp.pad(waves, (*((0, 0) for _ in time.shape), (0, features % 2))).reshape(len(time), -1)
