"""Frechet distance between the Gaussians fitted to two sets of features.

    d^2 = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))                                        arXiv:1706.08500, eq. 6

The estimate is biased upwards by the finite samples: two sets of n draws from one Gaussian in d dimensions are about
d^2 / (2 n) apart, in units of its variance. Numbers at different n are therefore not comparable.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.errors import InputError
from gen_jax.ops import host

# Examples that are summed at once, and rows and columns of a block of their scatter. With them what a program holds, of
# 2,048 features, stays below 32 MiB, above which glibc takes memory anew from the system every time, page by page.
_ROWS, _SIDE = 1024, 256


@dataclasses.dataclass(frozen=True)
class Moments:
  """Mergeable first and second moments, in float64 on the host.

  The scatter is kept about the mean rather than about 0, so that a large offset costs no digits.

  Attributes:
    n: number of examples.
    mean: [D].
    scatter: lower half of the sum of (x - mean)(x - mean)^T, [D, D]; nothing is read above its diagonal.
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
    return _whole(self.scatter) / (self.n - 1)


def _whole(lower: np.ndarray) -> np.ndarray:
  """The symmetric matrix of a lower half."""
  return np.tril(lower) + np.tril(lower, -1).T


def moments(x: np.ndarray) -> Moments:
  """The moments of features x [N, D]."""
  x = np.asarray(x)
  mean = x.mean(0, dtype=np.float64)
  dim = len(mean)
  starts = range(0, dim, _SIDE)
  with jax.enable_x64(True), jax.default_device(host.device()):
    blocks = [[jnp.zeros((min(_SIDE, dim - i), min(_SIDE, dim - j))) for j in starts if j <= i] for i in starts]
    for start in range(0, len(x), _ROWS):  # one program at a time: two would share the cores and their caches
      off = jax.block_until_ready(_turned(x[start : start + _ROWS], mean))
      blocks = jax.block_until_ready(_add(blocks, off))
  scatter = np.zeros((dim, dim))
  for i, row in zip(starts, blocks, strict=True):
    for j, block in zip(starts, row, strict=False):
      scatter[i : i + _SIDE, j : j + _SIDE] = block
  return Moments(len(x), mean, scatter)


@jax.jit
def _turned(x: jax.Array, mean: jax.Array) -> list[jax.Array]:
  """Some rows less the mean, in blocks of columns, each turned: products along the last axis take half the time."""
  off = x.astype(jnp.float64) - mean
  return [off[:, i : i + _SIDE].T for i in range(0, off.shape[1], _SIDE)]


@functools.partial(jax.jit, donate_argnums=0)
def _add(blocks: list[list[jax.Array]], off: list[jax.Array]) -> list[list[jax.Array]]:
  """Adds the products of some rows to the blocks of the scatter's lower half.

  By XLA, since some builds of OpenBLAS take a new CPU for one without AVX-512.
  """
  return [[block + off[i] @ off[j].T for j, block in enumerate(row)] for i, row in enumerate(blocks)]


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
  spread = sum(np.trace(m.scatter) / (m.n - 1) for m in (a, b))
  root = _trace_root(a.scatter, b.scatter) / np.sqrt((a.n - 1.0) * (b.n - 1.0))
  return float(np.sum((a.mean - b.mean) ** 2) + spread - 2.0 * root)


def _of_few(x: np.ndarray, y: np.ndarray) -> float:
  """The distance where there are fewer examples than dimensions, whose covariances need not fit into memory.

  With C1 = X^T X and C2 = Y^T Y, tr (C1 C2)^(1/2) is the sum of the singular values of X Y^T, [N, M].
  """
  means = [s.mean(0, dtype=np.float64) for s in (x, y)]
  x, y = ((s - mean) / np.sqrt(len(s) - 1) for s, mean in zip((x, y), means, strict=True))
  spread = np.sum(np.square(x)) + np.sum(np.square(y))
  return float(np.sum((means[0] - means[1]) ** 2) + spread - 2.0 * np.linalg.norm(x @ y.T, "nuc"))


def _trace_root(s1: np.ndarray, s2: np.ndarray) -> float:
  """tr (S1 S2)^(1/2) from lower halves: with S1 = A A^T, S1 S2 has the eigenvalues of the symmetric A^T S2 A and zeros.

  A is Cholesky's factor, or the scaled eigenvectors of a singular matrix (n <= D).
  """
  from scipy.linalg import eigvalsh, lapack  # an eighth of a second, which no training has to wait for

  # All by scipy: the threads of numpy's own OpenBLAS would wait for those of scipy's to come to rest.
  # Turned, not copied, they are upper halves in LAPACK's order: S1 = U^T U.
  u, failed = lapack.dpotrf(s1.T, lower=0, clean=0)
  if not failed:
    product, _ = lapack.dsygst(s2.T, u, itype=2, lower=0)  # its upper half, in a quarter of the operations
  else:
    w, v = np.linalg.eigh(s1)
    keep = w > w[-1] * len(w) * np.finfo(w.dtype).eps
    a = v[:, keep] * np.sqrt(w[keep])
    product = a.T @ _whole(s2) @ a
  return float(np.sqrt(np.clip(eigvalsh(product, lower=False, check_finite=False), 0.0, None)).sum())
