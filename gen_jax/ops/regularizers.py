"""What keeps the codes of an autoencoder in bounds, so that another model can learn them.

The encoder gives [B, ..., heads * C]; of that a regularizer makes codes [B, ..., C] and, of those, what the decoder is
given. Penalties are means over the entries of a code, as distances are means over those of the data.
"""

import dataclasses
from typing import ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from gen_jax.errors import at_least, require
from gen_jax.ops import gaussians, quantization
from gen_jax.ops.quantization import Usage
from gen_jax.types import Array, Key, Metrics, PyTree


class Regularized(NamedTuple):
  """What a regularizer makes of a batch in training.

  Attributes:
    codes: [B, ..., C], as `encode` gives them.
    seen: [B, ..., C], what the decoder is given.
    penalty: a scalar, what is minimised beside the error of the reconstruction.
    params: what the next step decodes with.
    memory: what the next step trains with.
    metrics: scalars.
  """

  codes: Array
  seen: Array
  penalty: Array
  params: PyTree
  memory: PyTree
  metrics: Metrics


class Regularizer(Protocol):
  """What stands between an encoder and a decoder.

  Attributes:
    heads: how many numbers the encoder gives for each entry of a code.
  """

  heads: int

  def start(self, key: Key, channels: int) -> tuple[PyTree, PyTree]:
    """(parameters that decoding needs, memory that only training needs) before the first step, all without gradient."""

  def encode(self, key: Key, h: Array) -> Array:
    """Codes [B, ..., C] of the encoder's output h [B, ..., heads * C]."""

  def decode(self, params: PyTree, z: Array) -> Array:
    """What the decoder is given of codes z [B, ..., C]: the same shape."""

  def train(self, key: Key, params: PyTree, memory: PyTree, h: Array) -> Regularized:
    """What is made of the encoder's output h [B, ..., heads * C], and what is learned from it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class KL:
  """Codes are drawn from N(mean(x), std(x)^2), which is drawn to N(0, 1): arXiv:2112.10752, section 3.1, "KL-reg".

  Attributes:
    weight: of the mean over entries of the KL, in nats. It is tiny: enough to bound the codes and to blur them a
      little, far from a bound on a likelihood.
  """

  weight: float = 1e-6

  heads: ClassVar[int] = 2

  def __post_init__(self):
    at_least(0, "regularizer.", weight=self.weight)

  def start(self, key: Key, channels: int) -> tuple[PyTree, PyTree]:
    """Nothing."""
    del key, channels
    return {}, {}

  def encode(self, key: Key, h: Array) -> Array:
    """A draw for each entry."""
    mean, log_std = _split(h)
    return mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)

  def decode(self, params: PyTree, z: Array) -> Array:
    """The code itself."""
    del params
    return z

  def train(self, key: Key, params: PyTree, memory: PyTree, h: Array) -> Regularized:
    """Draws, and the KL."""
    z = self.encode(key, h)
    kl = gaussians.kl_to_standard(*_split(h)).mean()
    return Regularized(z, z, self.weight * kl, params, memory, {"kl": kl})


@dataclasses.dataclass(frozen=True, kw_only=True)
class VQ:
  """The decoder is given the nearest vectors of a codebook: arXiv:1711.00937; arXiv:2112.10752, section 3.1, "VQ-reg".

  The codes are what comes before the codebook, which so belongs to the decoder: a model of the codes may miss a vector
  by a little. The codebook follows its codes as a moving average, and vectors that are hardly used start again.

  Attributes:
    size: number of vectors.
    weight: of the commitment, the mean squared distance of codes to their vectors: beta of 1711.00937, eq. 3.
    decay: of the moving average.
    restart: a vector of less than this share of the average usage starts again at a code of the batch; 0 for never.
  """

  size: int = 512
  weight: float = 0.25
  decay: float = 0.99
  restart: float = 0.1

  heads: ClassVar[int] = 1

  def __post_init__(self):
    at_least(1, "regularizer.", size=self.size)
    at_least(0, "regularizer.", weight=self.weight)
    for name in ("decay", "restart"):
      require(**{f"regularizer.{name}": (getattr(self, name), 0 <= getattr(self, name) < 1, "in [0, 1)")})

  def start(self, key: Key, channels: int) -> tuple[PyTree, PyTree]:
    """A random codebook, of which no vector has been used: all those that the first batch does not use start again."""
    codebook = jax.random.normal(key, (self.size, channels))
    return {"codebook": codebook}, Usage(jnp.zeros(self.size), jnp.zeros_like(codebook))

  def encode(self, key: Key, h: Array) -> Array:
    """The encoder's output itself."""
    del key
    return h

  def decode(self, params: PyTree, z: Array) -> Array:
    """The nearest vectors."""
    return params["codebook"][quantization.nearest(params["codebook"], z)]

  def train(self, key: Key, params: PyTree, memory: PyTree, h: Array) -> Regularized:
    """The nearest vectors with the gradient of the codes, the commitment, and the codebook after this batch."""
    codebook = jax.lax.stop_gradient(params["codebook"])
    index = quantization.nearest(codebook, h)
    near = codebook[index]
    commitment = jnp.square(h - near).mean()
    flat = jax.lax.stop_gradient(h.reshape(-1, h.shape[-1]))
    moved, usage = quantization.follow(codebook, memory, flat, index.reshape(-1), self.decay)
    if self.restart:
      moved, usage = quantization.restart(key, moved, usage, flat, self.restart)
    metrics = {"commitment": commitment, "perplexity": quantization.perplexity(index.reshape(-1), self.size)}
    seen = quantization.straight_through(h, near)
    return Regularized(h, seen, self.weight * commitment, {"codebook": moved}, usage, metrics)


def _split(h: Array) -> tuple[Array, Array]:
  """(means, log standard deviations), the latter within what float32 can take the exponential of."""
  mean, log_std = jnp.split(h, 2, axis=-1)
  return mean, jnp.clip(log_std, -15.0, 10.0)
