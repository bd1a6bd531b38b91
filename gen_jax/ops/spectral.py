"""Spectral normalisation of every kernel of a network (1802.05957), whichever network it is.

Works on the tree of parameters and leaves the network alone. A kernel [..., in, out] counts as the matrix
[everything else, out], and is divided by its largest singular value, which power iteration follows through training
with one vector per kernel.
"""

import jax
import jax.numpy as jnp

from gen_jax.types import Array, Key, PyTree


def start(key: Key, params: PyTree) -> PyTree:
  """One random unit vector [out] for every kernel of `params`, in a tree like it; None in the place of all else."""

  leaves, tree = jax.tree_util.tree_flatten_with_path(params)
  keys = jax.random.split(key, len(leaves))
  vector = lambda key, kernel: _unit(jax.random.normal(key, kernel.shape[-1:]))
  pairs = zip(keys, leaves, strict=True)
  return tree.unflatten([vector(k, leaf) if _is_kernel(path) else None for k, (path, leaf) in pairs])


def iterate(params: PyTree, vectors: PyTree) -> PyTree:
  """The vectors after one more power iteration (algorithm 1)."""

  def improve(u, kernel):
    matrix = _matrix(jax.lax.stop_gradient(kernel))
    return _unit(matrix.T @ _unit(matrix @ u))

  return jax.tree.map(lambda u, k: None if u is None else improve(u, k), vectors, params, is_leaf=_is_none)


def normalize(params: PyTree, vectors: PyTree) -> PyTree:
  """`params` with every kernel divided by its largest singular value; gradients flow through that value."""

  def divide(u, kernel):
    return kernel if u is None else kernel / sigma(kernel, u)

  return jax.tree.map(divide, vectors, params, is_leaf=_is_none)


def sigma(kernel: Array, u: Array) -> Array:
  """The largest singular value, v^T W u, if `u` is its right singular vector."""
  matrix = _matrix(kernel)
  v = jax.lax.stop_gradient(_unit(matrix @ u))
  return v @ (matrix @ jax.lax.stop_gradient(u))


def _matrix(kernel):
  return kernel.reshape(-1, kernel.shape[-1])


def _unit(x):
  return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)


def _is_kernel(path):
  return getattr(path[-1], "key", None) == "kernel"


def _is_none(x):
  return x is None
