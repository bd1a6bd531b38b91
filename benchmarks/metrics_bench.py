"""Distances from 10,000 + 10,000 features of 2,048 dimensions, the size of the usual tables, against their peers.

Peers: scipy's matrix square root, as the published FID code takes it, and the package prdc (0.2).
"""

import contextlib
import functools
import io

import numpy as np

from benchmarks import peers
from benchmarks.timing import alone, compare
from gen_jax.metrics import frechet
from gen_jax.metrics.prdc import prdc

_NUM, _DIM, _NEIGHBOURS = 10_000, 2048, 5


def rows(name: str):
  """Yields the rows whose name has `name` in it."""
  works = {
    "Frechet distance, 10k x 2048": (frechet.distance, "scipy sqrtm", _sqrtm),
    "PRDC, 10k x 10k x 2048": (lambda x, y: prdc(x, y, _NEIGHBOURS).precision, "prdc", _package),
  }
  for work, (ours, peer_name, peer) in works.items():
    if name in work:
      x, y = _features()
      mine, theirs = functools.partial(ours, x, y), functools.partial(peer, x, y)
      if peer_name == "prdc" and peers.missing("prdc"):
        yield alone(work, mine, runs=3, note="prdc (not installed)")
      else:
        yield compare(work, mine, peer_name, theirs, runs=3)


def _features() -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(0)
  x, y = rng.standard_normal((2, _NUM, _DIM), dtype=np.float32)
  mix = rng.standard_normal((_DIM, _DIM), dtype=np.float32) / np.sqrt(_DIM, dtype=np.float32)
  return x, x[::-1] @ mix * np.float32(0.5) + y * np.float32(0.8)


def _sqrtm(x: np.ndarray, y: np.ndarray) -> float:
  from scipy.linalg import sqrtm

  c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
  shift = x.mean(0, dtype=np.float64) - y.mean(0, dtype=np.float64)
  return shift @ shift + np.trace(c1) + np.trace(c2) - 2 * np.trace(sqrtm(c1 @ c2).real)


def _package(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
  from prdc import compute_prdc

  with contextlib.redirect_stdout(io.StringIO()):  # it prints what it was given
    return compute_prdc(x, y, _NEIGHBOURS)
