"""Dot-product attention, in the formulation that is fastest on the backend at hand."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from gen_jax.types import Array


def attend(q: Array, k: Array, v: Array, seen: Array | None = None) -> Array:
  """softmax(q k^T / sqrt(D)) v for every head (1706.03762, eq. 1).

  Written out on CPU, where that is the faster way to train; the fused kernel elsewhere.

  Args:
    q: [B, T, heads, D].
    k: [B, S, heads, D].
    v: [B, S, heads, D].
    seen: bool [B, S], the keys that there are; all of them by default. Every example needs one.

  Returns:
    [B, T, heads, D], of the dtype of `q`.
  """
  mask = None if seen is None else seen[:, None, None]
  if jax.default_backend() != "cpu":
    return jax.nn.dot_product_attention(q, k, v, mask=mask)
  q, k, v = (a.swapaxes(1, 2) for a in (q * q.shape[-1] ** -0.5, k, v))
  scores = jnp.einsum("bhtd,bhsd->bhts", q, k).astype(jnp.float32)
  scores = scores if mask is None else jnp.where(mask, scores, -jnp.inf)
  weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
  # divided after the product, where there are D numbers to a query and not S
  out = jnp.einsum("bhts,bhsd->bhtd", weights.astype(v.dtype), v) / weights.sum(axis=-1, keepdims=True)
  return out.astype(v.dtype).swapaxes(1, 2)


class Tokens(NamedTuple):
  """Sequences of different lengths.

  Attributes:
    value: [B, S, D].
    seen: bool [B, S], false where a sequence is over; the first token is always there.
  """

  value: Array
  seen: Array


class MultiHead(nn.Module):
  """Attention of several heads between learned projections (1706.03762, section 3.2.2).

  Queries, keys and values have a matrix each: the parts of one product would be cut out and, on the way back, padded.

  Attributes:
    heads: number of heads; divides the width of x.
    init: of the matrices.
    zero: start at zero, as a branch beside the identity.
    dtype: compute dtype.
  """

  heads: int
  init: Initializer = nn.initializers.lecun_normal()
  zero: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array, source: Array | None = None, seen: Array | None = None) -> Array:
    """x [B, T, C]; what it attends to, source [B, S, D], itself by default; seen bool [B, S] -> [B, T, C]."""
    dense = lambda h, init: nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=init)(h)
    split = lambda h: dense(h, self.init).reshape(*h.shape[:2], self.heads, -1)
    source = x if source is None else source
    out = attend(split(x), split(source), split(source), seen).reshape(x.shape)
    return dense(out, nn.initializers.zeros_init() if self.zero else self.init)
