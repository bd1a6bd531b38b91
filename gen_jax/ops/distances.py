"""How far apart two estimates of the same data are: distance(a [B, ...], b [B, ...]) -> [B].

All are means over the entries of an example, so that what they weigh does not depend on its size.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from gen_jax.errors import require
from gen_jax.ops.shapes import mean_flat
from gen_jax.resolve import part
from gen_jax.types import Array

Distance = Callable[[Array, Array], Array]


def l1() -> Distance:
  """The mean absolute difference."""
  return lambda a, b: mean_flat(jnp.abs(a - b))


def l2() -> Distance:
  """The mean squared difference."""
  return lambda a, b: mean_flat(jnp.square(a - b))


def pseudo_huber(c: float = 0.00054) -> Distance:
  """sqrt(|a - b|^2 + c^2) - c with |.|^2 a mean: arXiv:2310.14189, section 3.3, divided by the root of the dimension.

  Squared where the difference is smaller than c and linear where it is larger: far-off pairs weigh less.

  Args:
    c: root mean squared difference at which that sets in.

  Raises:
    InputError: a c that is not positive: the slope at a = b would be that of a root at 0.
  """
  require(c=(c, c > 0, "positive"))
  return lambda a, b: jnp.sqrt(mean_flat(jnp.square(a - b)) + c**2) - c


@dataclasses.dataclass(frozen=True)
class Perceptual:
  """The squared difference of features, each of unit length in its channels: arXiv:1801.03924, eq. 1, unweighted.

  Features that a model was trained with flatter it: score it with others, or by eye.

  Attributes:
    features: images [B, H, W, C] -> the activations of several layers, each [B, ..., channels].
  """

  features: Callable[[Array], tuple[Array, ...]] = part("metrics")

  def __call__(self, a: Array, b: Array) -> Array:
    """[B, H, W, C] twice -> [B]."""
    pairs = zip(self.features(a), self.features(b), strict=True)
    return sum(mean_flat(jnp.square(_unit(f) - _unit(g)).sum(-1)) for f, g in pairs)


def _unit(x: Array) -> Array:
  return x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-10)
