"""Group normalisation."""

import functools

import jax
import jax.numpy as jnp

from gen_jax.types import Array


@functools.partial(jax.jit, static_argnums=(1, 2))  # traced once for each shape, of which a network has few
def group_norm(
  x: Array,
  groups: int,
  eps: float,
  gain: Array,
  bias: Array,
  scale: Array | None = None,
  shift: Array | None = None,
) -> Array:
  """x standardised over space and each group of channels, times `gain`, plus `bias` (1803.08494, eq. 1-2 and 6).

  The statistics are float32. Each channel is summed over space first, which runs along the layout of the array, and
  only then over its group, by a small matrix product: gathered by index, the groups would end up in the loop over
  pixels, which no longer vectorises. The rest is one gain and one shift per channel: x is read and written once more.

  Args:
    x: [B, ..., C].
    groups: how many; they divide the channels.
    eps: added to the variance.
    gain: [C].
    bias: [C].
    scale: [B, C], for another gain, 1 + scale, after that one; with `shift` or not at all.
    shift: [B, C], added at last.

  Returns:
    float32, of the shape of x.
  """
  channels = x.shape[-1]
  space = tuple(range(1, x.ndim - 1))
  group = jnp.arange(channels) // (channels // groups)
  same = (group[:, None] == group) * (groups / channels)
  grouped = lambda moment: jnp.matmul(moment, same, precision="highest")  # [B, C] -> its mean over each group

  x = x.astype(jnp.float32)
  mean = grouped(x.mean(space))
  var = grouped(jnp.square(x).mean(space)) - jnp.square(mean)
  gain = jax.lax.rsqrt(jnp.maximum(var, 0.0) + eps) * gain
  bias = bias - mean * gain
  if scale is not None:
    gain, bias = gain * (1 + scale), bias * (1 + scale) + shift
  wide = (len(x), *(1 for _ in space), channels)
  return x * gain.reshape(wide) + bias.reshape(wide)
