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
  of_real, of_fake = (_reach(s, k) for s in (real, fake))
  inside = np.zeros(len(fake), np.int64)  # how many balls around real examples each fake one lies in
  covered, recalled = np.zeros(len(real), bool), np.zeros(len(real), bool)
  for rows, d in _distances(real, fake):
    near = d <= of_real[rows, None]
    inside += near.sum(0)
    covered[rows] = near.any(1)
    recalled[rows] = (d <= of_fake).any(1)
  precision, density = (inside > 0).mean(), inside.sum() / (k * len(fake))
  return Prdc(*map(float, (precision, recalled.mean(), density, covered.mean())))


def _reach(x: np.ndarray, k: int) -> np.ndarray:
  """The squared distance of each of x [N, D] to its k-th neighbour among the others, [N].

  The matrix of distances is symmetric: half of it is made, and serves its rows and its columns.
  """
  nearest = np.full((len(x), k + 1), np.inf, x.dtype)  # the smallest so far; each one's to itself, 0, is among them
  for rows, d in _distances(x, x, after=True):
    later = slice(rows.stop, None)
    nearest[rows] = _smallest(nearest[rows], d)
    nearest[later] = _smallest(nearest[later], np.ascontiguousarray(d[:, _ROWS:].T))
  return nearest.max(1)


def _distances(x: np.ndarray, y: np.ndarray, *, after: bool = False):
  """Yields (rows, squared distances up to rounding): those rows of x to all of y, or to those rows and all `after`."""
  xx, yy = (np.einsum("nd,nd->n", s, s) for s in (x, y))
  for i in range(0, len(x), _ROWS):
    rows, columns = slice(i, i + _ROWS), slice(i if after else 0, None)
    d = (-2 * x[rows]) @ y[columns].T
    d += yy[columns]
    d += xx[rows, None]
    yield rows, d


def _smallest(kept: np.ndarray, d: np.ndarray) -> np.ndarray:
  """Of each row of `kept` [n, m] and d [n, ...], the m smallest."""
  num = kept.shape[1]
  best = np.partition(d, num - 1, axis=1)[:, :num] if d.shape[1] > num else d
  return np.partition(np.concatenate([kept, best], axis=1), num - 1, axis=1)[:, :num]
