"""Dot-product attention, in the formulation that is fastest on the backend at hand."""

import jax
import jax.numpy as jnp

from gen_jax.types import Array


def attend(q: Array, k: Array, v: Array) -> Array:
  """softmax(q k^T / sqrt(D)) v for every head (1706.03762, eq. 1).

  Written out on CPU, where that is the faster way to train; the fused kernel elsewhere.

  Args:
    q: [B, T, heads, D].
    k: [B, S, heads, D].
    v: [B, S, heads, D].

  Returns:
    [B, T, heads, D], of the dtype of `q`.
  """
  if jax.default_backend() != "cpu":
    return jax.nn.dot_product_attention(q, k, v)
  scores = jnp.einsum("bthd,bshd->bhts", q * q.shape[-1] ** -0.5, k)
  weights = jax.nn.softmax(scores.astype(jnp.float32), axis=-1).astype(q.dtype)
  return jnp.einsum("bhts,bshd->bthd", weights, v)
