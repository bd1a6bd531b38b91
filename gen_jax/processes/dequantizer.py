"""How data with levels become real numbers for a model of densities: parts that may have parameters of their own."""

import dataclasses
from typing import Protocol

import flax.linen as nn
import jax.numpy as jnp

from gen_jax.ops import dequantization
from gen_jax.resolve import part
from gen_jax.types import Array, Key, PyTree


class Dequantizer(Protocol):
  """The contract of this file: a density q(y | x) on the interval of each level.

  Attributes:
    name: what it is called in the name of a bound.
  """

  name: str

  def start(self, key: Key, x: Array) -> PyTree:
    """The parameters before the first step, for data of the shape of `x` [B, H, W, C]."""

  def draw(self, key: Key, params: PyTree, x: Array, levels: int) -> tuple[Array, Array]:
    """y ~ q(y | x), of the shape of x, and log q(y | x), [B] nats: both have gradients in the parameters."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Uniform:
  """Uniform noise, without parameters: `dequantization.uniform`."""

  name = "uniform dequantization"

  def start(self, key: Key, x: Array) -> PyTree:
    """Nothing."""
    del key, x
    return {}

  def draw(self, key: Key, params: PyTree, x: Array, levels: int) -> tuple[Array, Array]:
    """y and log q(y | x)."""
    del params
    return dequantization.uniform(key, x, levels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variational:
  """Variational dequantization: arXiv:1902.00275, section 3.1; one affine layer of the paper's flow.

  A network of the whole image says how the noise of each pixel is shifted and scaled in the logit of its place in its
  interval: `dequantization.logistic`. It starts as uniform noise does.

  Attributes:
    net: a network net(x, time) with a field `out`, its output channels; its time is always 0.
  """

  net: nn.Module = part("nets", "unet.UNet", channels=16, multipliers=(1,), blocks=1, attention=())

  name = "variational dequantization"

  def start(self, key: Key, x: Array) -> PyTree:
    """The parameters of the network."""
    return self._net(x).init(key, x, jnp.zeros(len(x)))

  def draw(self, key: Key, params: PyTree, x: Array, levels: int) -> tuple[Array, Array]:
    """y and log q(y | x)."""
    mean, log_scale = jnp.split(self._net(x).apply(params, x, jnp.zeros(len(x))), 2, axis=-1)
    return dequantization.logistic(key, x, mean, log_scale, levels)

  def _net(self, x: Array) -> nn.Module:
    return self.net.clone(out=2 * x.shape[-1])
