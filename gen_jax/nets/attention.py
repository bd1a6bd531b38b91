"""Dot-product attention, in the formulation that is fastest on the backend at hand."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from gen_jax.errors import InputError
from gen_jax.nets.layers import Dense
from gen_jax.types import Array

Kernel = Callable[[Array, Array, Array], Array]

_BLOCK = 128  # tokens: what Pallas' kernel takes at once, at least


def attend(q: Array, k: Array, v: Array, seen: Array | None = None) -> Array:
  """softmax(q k^T / sqrt(D)) v for every head (1706.03762, eq. 1).

  Written out on CPU, where that is the faster way to train. In half precision a fused kernel where there is one, it is
  not differentiated, and no key is hidden: on NVIDIA's GPUs from compute capability 8.0 on cuDNN's, four to seven times
  faster than XLA's on an H100, with 256 to 1,024 tokens in bfloat16; on a single TPU (it is not divided over several)
  that of Pallas, for multiples of 128 tokens, which was run in its interpreter and lowered, but not measured. Neither
  has a forward-mode derivative, which mean flow and likelihoods take, so derivatives of every mode are those of XLA's.

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
  if seen is None and (kernel := _kernel(q, k)):
    return _fused(kernel, q, k, v)
  return jax.nn.dot_product_attention(q, k, v, mask=None if seen is None else seen[:, None, None])


def _written_out(q: Array, k: Array, v: Array, seen: Array | None) -> Array:
  q, k, v = (a.swapaxes(1, 2) for a in (q * q.shape[-1] ** -0.5, k, v))
  scores = jnp.einsum("bhtd,bhsd->bhts", q, k).astype(jnp.float32)
  scores = scores if seen is None else jnp.where(seen[:, None, None], scores, -jnp.inf)
  weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
  # divided after the product, where there are D numbers to a query and not S
  out = jnp.einsum("bhts,bhsd->bhtd", weights.astype(v.dtype), v) / weights.sum(axis=-1, keepdims=True)
  return out.astype(v.dtype).swapaxes(1, 2)


def _kernel(q: Array, k: Array) -> Kernel | None:
  """The fused kernel that the device has for arrays like these."""
  if q.dtype not in (jnp.bfloat16, jnp.float16) or q.shape[-1] % 8 or q.shape[-1] > 128:
    return None
  if jax.default_backend() == "tpu":
    return _flash if jax.device_count() == 1 and q.shape[1] % _BLOCK == k.shape[1] % _BLOCK == 0 else None
  return _cudnn if _has_cudnn() and q.shape[1] % 2 == k.shape[1] % 2 == 0 else None


def _has_cudnn() -> bool:
  """Whether the device has the tensor cores that cuDNN's kernel is for."""
  device = jax.devices()[0]
  return "NVIDIA" in device.device_kind and float(device.compute_capability) >= 8.0


def _cudnn(q: Array, k: Array, v: Array) -> Array:
  return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")


def _flash(q: Array, k: Array, v: Array) -> Array:
  """Pallas' kernel, in the largest blocks that divide the sequences."""
  from jax.experimental.pallas.ops.tpu import flash_attention  # here: a tenth of a second that only TPUs have to wait

  queries, keys = (max(n for n in (_BLOCK, 2 * _BLOCK, 4 * _BLOCK) if a.shape[1] % n == 0) for a in (q, k))
  blocks = flash_attention.BlockSizes(block_q=queries, block_k_major=keys, block_k=keys, block_b=1)
  by_head = (a.swapaxes(1, 2) for a in (q, k, v))
  out = flash_attention.flash_attention(*by_head, sm_scale=q.shape[-1] ** -0.5, block_sizes=blocks)
  return out.swapaxes(1, 2)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _fused(kernel: Kernel, q: Array, k: Array, v: Array) -> Array:
  return kernel(q, k, v)


@_fused.defjvp
def _differentiated(kernel: Kernel, primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
  del kernel
  return jax.jvp(functools.partial(jax.nn.dot_product_attention, implementation="xla"), primals, tangents)


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
    dense = lambda h, init: Dense(x.shape[-1], dtype=self.dtype, kernel_init=init)(h)
    split = lambda h: dense(h, self.init).reshape(*h.shape[:2], self.heads, -1)
    source = x if source is None else source
    out = attend(split(x), split(source), split(source), seen).reshape(x.shape)
    return dense(out, nn.initializers.zeros_init() if self.zero else self.init)
