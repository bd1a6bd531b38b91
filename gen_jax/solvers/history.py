"""What a multistep method remembers, and the polynomial through it.

A history begins with zeros at places so far away that no polynomial bends towards them: over its first steps a method
of order k is by itself of order 1, 2, ... k, without a branch.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from gen_jax.types import Array

_FAR = -1e15
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


class History(NamedTuple):
  """The last values of a function, newest first.

  Attributes:
    values: each [B, ...].
    places: where they were taken, each a scalar or [B].
  """

  values: tuple[Array, ...]
  places: tuple[Array, ...]

  def push(self, value: Array, place: Array) -> "History":
    """A newer value; the oldest is forgotten."""
    return History((value, *self.values[:-1]), (place, *self.places[:-1]))


def empty(x: Array, num: int) -> History:
  """`num` values of the shape of `x` that no method will feel."""
  return History((jnp.zeros_like(x),) * num, tuple(jnp.asarray(_FAR * (i + 1), x.dtype) for i in range(num)))


def unfelt(place: Array) -> Array:
  """Whether a place is one that a history begins with."""
  return place <= _FAR


def integrals(kernel: Callable[[Array], Array], places: tuple[Array, ...], low: Array, high: Array) -> list[Array]:
  """For each place j, the integral of kernel(u) l_j(u) from `low` to `high`, by Gauss-Legendre quadrature.

  l_j is Lagrange's polynomial, 1 at place j and 0 at the others, so that their sum weighted with a function's values
  integrates the polynomial through these.

  Args:
    kernel: u [..., 16] -> [..., 16], smooth.
    places: each a scalar or of the shape of `low`.
    low: where to begin, a scalar or [B].
    high: where to end, of the shape of `low`.
  """
  nodes, weights = (jnp.asarray(v, low.dtype) for v in (_NODES, _WEIGHTS))
  half = ((high - low) / 2)[..., None]
  u = low[..., None] + half * (1 + nodes)
  weighted = half * weights * kernel(u)
  places = [p[..., None] for p in places]
  basis = lambda p: [(u - q) / (p - q) for q in places if q is not p]
  return [jnp.sum(math.prod(basis(p)) * weighted, axis=-1) for p in places]
