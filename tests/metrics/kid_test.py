"""The kernel distance against its definition, pair by pair, and its error against its spread."""

import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.metrics import kid as room
from gen_jax.metrics.kid import kid


def by_pairs(x, y):
  k = lambda a, b: (a @ b / len(a) + 1) ** 3
  n, m = len(x), len(y)
  xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
  yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
  return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_definition(monkeypatch):
  monkeypatch.setattr(room, "_ROWS", 7)  # blocks that do not divide the sets
  rng = np.random.default_rng(0)
  x, y = rng.standard_normal((30, 5)), 1.5 * rng.standard_normal((19, 5)) + 0.3
  assert kid(x, y).value == pytest.approx(by_pairs(x, y), rel=1e-4)
  assert kid(y, x).value == pytest.approx(by_pairs(x, y), rel=1e-4)


@pytest.mark.parametrize("n", [1000, 5000])
def test_no_bias(n):
  assert abs(kid(*np.random.default_rng(n).standard_normal((2, n, 64))).value) < 2e-3


def repeated(shift, times=300, n=60):
  rng = np.random.default_rng(1)
  estimates = [kid(rng.standard_normal((n, 4)), rng.standard_normal((n, 4)) + shift) for _ in range(times)]
  return np.array(estimates).T


def test_error_where_the_distributions_differ():
  values, errors = repeated(0.7)
  assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.15)


def test_error_where_they_are_the_same():
  values, errors = repeated(0.0)
  assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
  assert 1.0 < np.sqrt((errors**2).mean()) / values.std() < 2.0


def test_one_example_has_no_pairs():
  with pytest.raises(InputError, match="at least 2"):
    kid(np.zeros((1, 3)), np.zeros((5, 3)))
