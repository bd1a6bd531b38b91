"""Broadcasting to and reduction to numbers per example, batches of one size, and rows over devices."""

import jax
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from gen_jax.types import Array


def expand(a: Array, x: Array) -> Array:
  """`a`, [B] or a scalar, with trailing axes so that it broadcasts against `x` [B, ...]."""
  return a.reshape(a.shape + (1,) * (x.ndim - a.ndim)) if a.ndim else a


def sum_flat(x: Array) -> Array:
  """The sum over the entries of each example: [B, ...] -> [B]."""
  return x.reshape(len(x), -1).sum(-1)


def mean_flat(x: Array) -> Array:
  """The mean over the entries of each example: [B, ...] -> [B]."""
  return x.reshape(len(x), -1).mean(-1)


def spread(x: Array) -> Array:
  """x [B, ...] with its rows over the devices of the mesh in use: for what training draws without looking at a batch.

  Each device then works on its share, as with what comes from a batch, and not on everything. Without a mesh, where its
  devices do not divide B, or where somebody else sees to what goes where, x is left as it is.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or len(x) % mesh.size or not all(kind == AxisType.Auto for kind in mesh.axis_types):
    return x
  return jax.lax.with_sharding_constraint(x, PartitionSpec(mesh.axis_names))


def batches(num: int, size: int) -> list[np.ndarray]:
  """The indices 0 .. `num` - 1 in order, `size` at a time; the last are filled up, so that one program serves all."""
  return [np.arange(first, first + size) % num for first in range(0, num, size)]
