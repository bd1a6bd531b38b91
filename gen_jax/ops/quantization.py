"""Vector quantization: the nearest of a codebook's vectors, and how the codebook follows what it stands for."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gen_jax.types import Array, Key

_NEVER = 1e-20  # a vector of fewer uses has been forgotten


class Usage(NamedTuple):
  """Moving averages over batches, which a codebook is the quotient of.

  Attributes:
    counts: [K], how often each vector is the nearest, per batch.
    sums: [K, C], the sum of those that it is the nearest of.
  """

  counts: Array
  sums: Array


def nearest(codebook: Array, z: Array) -> Array:
  """Which vector of `codebook` [K, C] is nearest to each of z [..., C]: int32 [...] (1711.00937, eq. 1)."""
  products = jnp.matmul(z, codebook.T, precision="highest")
  return jnp.argmin(jnp.square(codebook).sum(-1) - 2 * products, axis=-1).astype(jnp.int32)


def straight_through(z: Array, quantized: Array) -> Array:
  """`quantized`, whose gradient is that of `z` (1711.00937, section 3.2)."""
  return z + jax.lax.stop_gradient(quantized - z)


def follow(codebook: Array, usage: Usage, z: Array, index: Array, decay: float) -> tuple[Array, Usage]:
  """The codebook [K, C] and its usage after a batch z [N, C] with the nearest vectors `index` [N].

  Each vector is the mean of those that it was the nearest of, over batches that are forgotten with `decay` (1711.00937,
  appendix A.1); one without any stays where it is.
  """
  num = len(codebook)
  counts = jax.ops.segment_sum(jnp.ones(len(z)), index, num)
  sums = jax.ops.segment_sum(z, index, num)
  usage = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, usage, Usage(counts, sums))
  used = usage.counts > _NEVER
  mean = usage.sums / jnp.where(used, usage.counts, 1.0)[:, None]
  return jnp.where(used[:, None], mean, codebook), usage


def restart(key: Key, codebook: Array, usage: Usage, z: Array, share: float) -> tuple[Array, Usage]:
  """Moves the vectors that are hardly used to random ones of the batch z [N, C] (arXiv:2005.00341, section 3.1).

  That is those with less than `share` of the average usage, which they are then given, as time to find their place.
  """
  average = usage.counts.mean()
  dead = usage.counts < share * average
  drawn = z[jax.random.randint(key, (len(codebook),), 0, len(z))]
  counts = jnp.where(dead, average, usage.counts)
  sums = jnp.where(dead[:, None], average * drawn, usage.sums)
  return jnp.where(dead[:, None], drawn, codebook), Usage(counts, sums)


def perplexity(index: Array, num: int) -> Array:
  """exp of the entropy of `index` [N] among `num`: how many vectors are in use, were they used alike."""
  p = jax.ops.segment_sum(jnp.ones(len(index)), index, num) / len(index)
  return jnp.exp(-jnp.sum(p * jnp.log(jnp.maximum(p, 1e-20))))
