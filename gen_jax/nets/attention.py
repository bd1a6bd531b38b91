"""Dot-product attention, in the formulation that is fastest on the backend at hand."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from gen_jax.errors import InputError
from gen_jax.types import Array


def attend(q: Array, k: Array, v: Array, seen: Array | None = None) -> Array:
  """softmax(q k^T / sqrt(D)) v for every head (1706.03762, eq. 1).

  Written out on CPU, where that is the faster way to train. On a GPU, half-precision self-attention that is not
  differentiated is cuDNN's fused kernel: three to six times faster, but without forward-mode derivatives, which mean
  flow and likelihoods take. So derivatives of every mode are those of XLA's.

  Args:
    q: [B, T, heads, D].
    k: [B, S, heads, D].
    v: [B, S, heads, D].
    seen: bool [B, S], the keys that there are; all of them by default. Every example needs one.

  Returns:
    [B, T, heads, D], of the dtype of `q`.
  """
  if jax.default_backend() == "cpu":
    return _written_out(q, k, v, seen)
  if seen is None and jax.default_backend() == "gpu" and _fits(q, k):
    return _fused(q, k, v)
  return jax.nn.dot_product_attention(q, k, v, mask=None if seen is None else seen[:, None, None])


def _written_out(q: Array, k: Array, v: Array, seen: Array | None) -> Array:
  q, k, v = (a.swapaxes(1, 2) for a in (q * q.shape[-1] ** -0.5, k, v))
  scores = jnp.einsum("bhtd,bhsd->bhts", q, k).astype(jnp.float32)
  scores = scores if seen is None else jnp.where(seen[:, None, None], scores, -jnp.inf)
  weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
  # divided after the product, where there are D numbers to a query and not S
  out = jnp.einsum("bhts,bhsd->bhtd", weights.astype(v.dtype), v) / weights.sum(axis=-1, keepdims=True)
  return out.astype(v.dtype).swapaxes(1, 2)


def _fits(q: Array, k: Array) -> bool:
  """Whether cuDNN has a kernel for it."""
  half = q.dtype in (jnp.bfloat16, jnp.float16)
  return half and q.shape[-1] % 8 == 0 and q.shape[-1] <= 128 and q.shape[1] % 2 == k.shape[1] % 2 == 0


@jax.custom_jvp
def _fused(q: Array, k: Array, v: Array) -> Array:
  return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")


@_fused.defjvp
def _differentiated(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
  return jax.jvp(jax.nn.dot_product_attention, primals, tangents)


def check_levels(attention: tuple[int, ...], num: int) -> None:
  """Raises InputError where `attention` names a level that a network of `num` levels does not have."""
  if not set(attention) <= set(range(num)):
    raise InputError(f"net.attention = {attention} should name levels from 0 to {num - 1}: multipliers has {num}")


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
