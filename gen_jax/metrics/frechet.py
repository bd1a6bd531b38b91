"""Frechet distance between the Gaussians fitted to two sets of features.

    d^2 = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))                                        arXiv:1706.08500, eq. 6

The estimate is biased upwards by the finite samples: two sets of n draws from one Gaussian in d dimensions are about
d^2 / (2 n) apart, in units of its variance. Numbers at different n are therefore not comparable.
"""

import dataclasses

import numpy as np

from gen_jax.errors import InputError


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
  x = np.asarray(x, np.float64)
  mean = x.mean(0)
  x = x - mean
  return Moments(len(x), mean, x.T @ x)


def distance(x: np.ndarray | Moments, y: np.ndarray | Moments) -> float:
  """Squared Frechet distance between features x [N, D] and y [M, D], or between their `Moments`.

  Raises:
    InputError: a set has fewer than two examples.
  """
  a, b = (s if isinstance(s, Moments) else moments(s) for s in (x, y))
  if min(a.n, b.n) < 2:
    raise InputError("a Frechet distance needs at least 2 examples in each set")
  c1, c2 = a.cov, b.cov
  return float(np.sum((a.mean - b.mean) ** 2) + np.trace(c1) + np.trace(c2) - 2.0 * _trace_root(c1, c2))


def _trace_root(c1: np.ndarray, c2: np.ndarray) -> float:
  """tr (C1 C2)^(1/2): with C1 = A A^T, C1 C2 has the eigenvalues of the symmetric A^T C2 A and zeros."""
  a = _factor(c1)
  return float(np.sqrt(np.clip(np.linalg.eigvalsh(a.T @ c2 @ a), 0.0, None)).sum())


def _factor(c: np.ndarray) -> np.ndarray:
  """A with A A^T = C, [D, rank]: Cholesky's, or the scaled eigenvectors of a singular matrix (n <= D)."""
  try:
    return np.linalg.cholesky(c)
  except np.linalg.LinAlgError:
    w, v = np.linalg.eigh(c)
    keep = w > w[-1] * len(w) * np.finfo(w.dtype).eps
    return v[:, keep] * np.sqrt(w[keep])
