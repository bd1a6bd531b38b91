"""Precision and recall (arXiv:1904.06991), density and coverage (arXiv:2002.09797) from k-nearest-neighbour balls.

With B(x) the ball around x that reaches its k-th nearest neighbour in its own set, for real x_1..x_N and fake y_1..y_M:

    precision   share of the y inside some B(x)                                               arXiv:1904.06991, eq. 2
    recall      share of the x inside some B(y)
    density     number of pairs with y inside B(x), / (k M)                             arXiv:2002.09797, section 3.2
    coverage    share of the x whose B(x) holds some y                                  arXiv:2002.09797, section 3.2
"""

from typing import NamedTuple

import numpy as np

from gen_jax.errors import InputError

_ROWS = 512  # rows of a distance matrix at a time: with 10,000 columns a block is 20 MB


class Prdc(NamedTuple):
  """All four; density alone may exceed 1."""

  precision: float
  recall: float
  density: float
  coverage: float


def prdc(real: np.ndarray, fake: np.ndarray, k: int = 5) -> Prdc:
  """The four scores of features real [N, D] and fake [M, D].

  Raises:
    InputError: a set has no k-th neighbour.
  """
  if min(len(real), len(fake)) <= k:
    raise InputError(f"k = {k} nearest neighbours need more than {k} examples in each set")
  # Neighbours in few dimensions are far closer than the norms that their squared distance is a difference of.
  dtype = np.float32 if real.shape[1] > 128 else np.float64
  real, fake = np.asarray(real, dtype), np.asarray(fake, dtype)
  of_real, of_fake = (np.concatenate([_kth(d, k) for _, d in _distances(s, s)]) for s in (real, fake))
  inside = np.zeros(len(fake), np.int64)  # how many balls around real examples each fake one lies in
  covered, recalled = np.zeros(len(real), bool), np.zeros(len(real), bool)
  for rows, d in _distances(real, fake):
    near = d <= of_real[rows, None]
    inside += near.sum(0)
    covered[rows] = near.any(1)
    recalled[rows] = (d <= of_fake).any(1)
  precision, density = (inside > 0).mean(), inside.sum() / (k * len(fake))
  return Prdc(*map(float, (precision, recalled.mean(), density, covered.mean())))


def _distances(x: np.ndarray, y: np.ndarray):
  """Yields (rows, squared distances between those rows of x and all of y, up to rounding)."""
  xx, yy = (np.einsum("nd,nd->n", s, s) for s in (x, y))
  for i in range(0, len(x), _ROWS):
    rows = slice(i, i + _ROWS)
    d = x[rows] @ y.T
    d *= -2
    d += yy
    d += xx[rows, None]
    yield rows, d


def _kth(d: np.ndarray, k: int) -> np.ndarray:
  """The distance to the k-th neighbour in the same set, itself (the nearest, at 0) not counted."""
  return np.partition(d, k, axis=1)[:, k]
