"""The divergence of a vector field that acts on each example of a batch by itself: sum_i d f_i / d x_i, [B].

A way to take it draws its probes once, and then makes a column of estimates for each: along a trajectory every column
is an estimate of one and the same integral, and a solver sees a smooth function of time.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

import jax
import jax.numpy as jnp

from gen_jax.errors import at_least
from gen_jax.ops.shapes import sum_flat
from gen_jax.types import Array, Key

Field = Callable[[Array], Array]  # [B, ...] -> [B, ...]

_CHUNK = 2**22  # numbers that the exact divergence makes at once: 16 MB


class Divergence(Protocol):
  """The contract of this file.

  Attributes:
    columns: how many estimates there are of each divergence.
    random: whether they differ.
  """

  columns: int
  random: ClassVar[bool]

  def probes(self, key: Key, x: Array) -> Array:
    """The directions [columns, *x.shape] that a call looks along."""

  def __call__(self, field: Field, x: Array, probes: Array) -> tuple[Array, Array]:
    """f(x), of the shape of x, and `columns` estimates of its divergence, [B, columns]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exact:
  """All D derivatives, one forward-mode product each: for vectors and small images. A standard error of it is 0."""

  columns: ClassVar[int] = 1
  random: ClassVar[bool] = False

  def probes(self, key: Key, x: Array) -> Array:
    """None are needed."""
    del key
    return jnp.zeros((1, *x.shape))

  def __call__(self, field: Field, x: Array, probes: Array) -> tuple[Array, Array]:
    """f(x) and its divergence [B, 1]."""
    del probes
    y, push = jax.linearize(field, x)
    size = x[0].size
    chunk = max(1, min(size, _CHUNK // x.size))

    def entry(i):
      direction = jax.nn.one_hot(i, size, dtype=x.dtype).reshape(x.shape[1:])
      return _along(push(jnp.broadcast_to(direction, x.shape)), direction)

    return y, jax.lax.map(entry, jnp.arange(size), batch_size=chunk).sum(0)[:, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hutchinson:
  """v^T (df / dx) v for random v of unit covariance: unbiased (1810.01367, section 3.1).

  Attributes:
    draws: how many v; their spread is the standard error.
    law: of v. "rademacher", signs, has the least variance of independent entries: it sees nothing of the diagonal.
  """

  draws: int = 1
  law: Literal["rademacher", "gaussian"] = "rademacher"

  random: ClassVar[bool] = True

  def __post_init__(self):
    at_least(1, draws=self.draws)

  @property
  def columns(self) -> int:
    """One per draw."""
    return self.draws

  def probes(self, key: Key, x: Array) -> Array:
    """Independent v for every example and draw, [draws, *x.shape]."""
    draw = jax.random.rademacher if self.law == "rademacher" else jax.random.normal
    return draw(key, (self.draws, *x.shape), x.dtype)

  def __call__(self, field: Field, x: Array, probes: Array) -> tuple[Array, Array]:
    """f(x), evaluated once, and an estimate per draw, [B, draws]."""

    def product(v):
      y, dy = jax.jvp(field, (x,), (v,))
      return y, _along(dy, v)

    y, estimates = jax.vmap(product, out_axes=(None, 1))(probes)
    return y, estimates


def _along(a: Array, b: Array) -> Array:
  """The inner product of each example, [B]."""
  return sum_flat(a * b)
