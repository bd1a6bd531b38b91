"""Frechet distance between the Gaussians fitted to two sets of features.

    d^2 = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))                                        arXiv:1706.08500, eq. 6

The estimate is biased upwards by the finite samples: two sets of n draws from one Gaussian in d dimensions are about
d^2 / (2 n) apart, in units of its variance. Numbers at different n are therefore not comparable.
"""

import dataclasses

import numpy as np

from gen_jax.errors import InputError

_ROWS = 2048  # of features that are summed at once


@dataclasses.dataclass(frozen=True)
class Moments:
  """Mergeable first and second moments, in float64 on the host.

  The scatter is kept about the mean rather than about 0, so that a large offset costs no digits.

  Attributes:
    n: number of examples.
    mean: [D].
    scatter: sum of (x - mean)(x - mean)^T, [D, D].
  """

  n: int
  mean: np.ndarray
  scatter: np.ndarray

  def merge(self, other: "Moments") -> "Moments":
    """The moments of both sets together."""
    n = self.n + other.n
    shift = other.mean - self.mean
    mean = self.mean + shift * (other.n / n)
    scatter = self.scatter + other.scatter + np.outer(shift, shift) * (self.n * other.n / n)
    return Moments(n, mean, scatter)

  @property
  def cov(self) -> np.ndarray:
    """The unbiased covariance, [D, D]."""
    return self.scatter / (self.n - 1)


def moments(x: np.ndarray) -> Moments:
  """The moments of features x [N, D]."""
  from scipy.linalg import blas  # an eighth of a second, which no training has to wait for

  x = np.asarray(x)
  mean = x.mean(0, dtype=np.float64)
  lower = np.zeros((x.shape[1], x.shape[1]), order="F")
  rows = np.empty((min(_ROWS, len(x)), x.shape[1]))  # a few at a time: fresh memory costs as much as the sums
  for start in range(0, len(x), _ROWS):
    part = x[start : start + _ROWS]
    off = np.subtract(part, mean, out=rows[: len(part)])
    lower = blas.dsyrk(1.0, off.T, beta=1.0, c=lower, lower=1, overwrite_c=1)
  return Moments(len(x), mean, lower + np.tril(lower, -1).T)


def distance(x: np.ndarray | Moments, y: np.ndarray | Moments) -> float:
  """Squared Frechet distance between features x [N, D] and y [M, D], or between their `Moments`.

  Raises:
    InputError: a set has fewer than two examples.
  """
  sets = [s if isinstance(s, Moments) else np.asarray(s) for s in (x, y)]
  if min(s.n if isinstance(s, Moments) else len(s) for s in sets) < 2:
    raise InputError("a Frechet distance needs at least 2 examples in each set")
  if all(isinstance(s, np.ndarray) and len(s) <= s.shape[1] for s in sets):
    return _of_few(*sets)
  a, b = (s if isinstance(s, Moments) else moments(s) for s in sets)
  c1, c2 = a.cov, b.cov
  return float(np.sum((a.mean - b.mean) ** 2) + np.trace(c1) + np.trace(c2) - 2.0 * _trace_root(c1, c2))


def _of_few(x: np.ndarray, y: np.ndarray) -> float:
  """The distance where there are fewer examples than dimensions, whose covariances need not fit into memory.

  With C1 = X^T X and C2 = Y^T Y, tr (C1 C2)^(1/2) is the sum of the singular values of X Y^T, [N, M].
  """
  means = [s.mean(0, dtype=np.float64) for s in (x, y)]
  x, y = ((s - mean) / np.sqrt(len(s) - 1) for s, mean in zip((x, y), means, strict=True))
  spread = np.sum(np.square(x)) + np.sum(np.square(y))
  return float(np.sum((means[0] - means[1]) ** 2) + spread - 2.0 * np.linalg.norm(x @ y.T, "nuc"))


def _trace_root(c1: np.ndarray, c2: np.ndarray) -> float:
  """tr (C1 C2)^(1/2): with C1 = A A^T, C1 C2 has the eigenvalues of the symmetric A^T C2 A and zeros.

  A is Cholesky's factor, or the scaled eigenvectors of a singular matrix (n <= D).
  """
  from scipy.linalg import lapack

  a, failed = lapack.dpotrf(c1, lower=1)
  if not failed:
    product, _ = lapack.dsygst(c2, a, itype=2, lower=1)  # its lower half, in a quarter of the operations
  else:
    w, v = np.linalg.eigh(c1)
    keep = w > w[-1] * len(w) * np.finfo(w.dtype).eps
    a = v[:, keep] * np.sqrt(w[keep])
    product = a.T @ c2 @ a
  return float(np.sqrt(np.clip(np.linalg.eigvalsh(product), 0.0, None)).sum())
