"""Kernel distance: the unbiased squared maximum mean discrepancy with a cubic kernel.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y),   k(x, y) = (x.y / D + 1)^3             arXiv:1801.01401 (KID)

Unbiased: its expectation is 0 for two samples of one distribution at any n, and a value may be negative.
"""

from typing import NamedTuple

import numpy as np

from gen_jax.errors import InputError

_ROWS = 256  # rows of the kernel matrix at a time


class Kid(NamedTuple):
  """An estimate and its standard error."""

  value: float
  error: float


def kid(x: np.ndarray, y: np.ndarray) -> Kid:
  """The unbiased estimate over all pairs of features x [N, D] and y [M, D], with its standard error.

  The error is that of the projection on single examples (as in the appendix of arXiv:1611.04488): right to first
  order where the distributions differ, about sqrt(2) too large where they are the same.

  Raises:
    InputError: a set has fewer than two examples.
  """
  if min(len(x), len(y)) < 2:
    raise InputError("a kernel distance needs at least 2 examples in each set")
  x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
  n, m = len(x), len(y)
  xy, yx = _sums(x, y)
  xx, yy = (_sums(s, s)[0] - _kernel(np.einsum("nd,nd->n", s, s), s.shape[1]) for s in (x, y))  # without the diagonal
  of_x, of_y = xx / (n - 1) - xy / m, yy / (m - 1) - yx / n
  value = of_x.mean() + of_y.mean()
  error = 2.0 * np.sqrt(of_x.var(ddof=1) / n + of_y.var(ddof=1) / m)
  return Kid(float(value), float(error))


def _sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Sums of the kernel matrix over its columns, [N], and over its rows, [M], in float64."""
  rows, columns = np.empty(len(x)), np.zeros(len(y))
  for i in range(0, len(x), _ROWS):
    k = _kernel(x[i : i + _ROWS] @ y.T, x.shape[1])
    rows[i : i + _ROWS] = k.sum(1, dtype=np.float64)
    columns += k.sum(0, dtype=np.float64)
  return rows, columns


def _kernel(products: np.ndarray, dim: int) -> np.ndarray:
  """The kernel of inner products, in their place."""
  products /= dim
  products += 1
  products *= products * products
  return products
