"""The Frechet distance against sampling theory, closed forms and scipy's matrix square root."""

import functools

import numpy as np
import pytest
import scipy.linalg

from gen_jax.errors import InputError
from gen_jax.metrics import frechet


def gaussian(mean, cov, n=1000):
  """The moments of a Gaussian, exactly."""
  return frechet.Moments(n, np.asarray(mean, float), np.asarray(cov, float) * (n - 1))


def wishart(rng, d, rank=None):
  a = rng.standard_normal((d, rank or 2 * d))
  return a @ a.T / d


@pytest.mark.parametrize(("n", "expected"), [(1000, 2.27), (2000, 1.14), (5000, 0.44), (10_000, 0.21)])
def test_two_samples_of_one_gaussian(n, expected):
  rng = np.random.default_rng(n)
  assert frechet.distance(*rng.standard_normal((2, n, 64))) == pytest.approx(expected, rel=0.1)


def test_closed_form_of_commuting_gaussians():
  std1, std2 = np.array([1.0, 2.0, 0.5]), np.array([3.0, 0.1, 0.5])
  a, b = gaussian([0, 1, 2], np.diag(std1**2)), gaussian([1, 1, -1], np.diag(std2**2))
  assert frechet.distance(a, b) == pytest.approx(10.0 + np.sum((std1 - std2) ** 2), rel=1e-12)


def test_matrix_square_root_of_others():
  rng = np.random.default_rng(0)
  c1, c2 = wishart(rng, 40), wishart(rng, 40)
  expected = np.trace(c1 + c2) - 2 * np.trace(scipy.linalg.sqrtm(c1 @ c2).real)
  assert frechet.distance(gaussian(np.zeros(40), c1), gaussian(np.zeros(40), c2)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(20, 30), (20, 400), (400, 20)])
def test_fewer_examples_than_dimensions(n, m):
  """tr (C1 C2)^(1/2) by the eigenvalues of covariances, though they are singular."""
  rng = np.random.default_rng(0)
  x, y = rng.standard_normal((n, 50)), 2 * rng.standard_normal((m, 50)) + 1
  c1, c2 = np.cov(x.T), np.cov(y.T)
  root = np.sqrt(np.clip(np.linalg.eigvals(c1 @ c2).real, 0, None)).sum()
  expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c1 + c2) - 2 * root
  assert frechet.distance(x, y) == pytest.approx(expected, rel=1e-7)
  assert frechet.distance(frechet.moments(x), frechet.moments(y)) == pytest.approx(expected, rel=1e-7)


def test_few_large_images_need_no_covariance():
  """Of 192 x 192 pixels in three channels it would take 91 GB. The means are apart, and so is the rest."""
  x = np.random.default_rng(0).standard_normal((2, 8, 192 * 192 * 3), dtype=np.float32)
  pixels = x[0, 0].size
  assert frechet.distance(*x) == pytest.approx(2 * pixels / 8 + 2 * pixels, rel=0.01)


def test_dead_features_and_collapsed_samples():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((100, 8))
  x[:, 3:] = 1.0
  assert frechet.distance(x, x) == pytest.approx(0.0, abs=1e-6)
  assert frechet.distance(x, x[:, ::-1]) == pytest.approx(frechet.distance(x[:, ::-1], x), rel=1e-6)
  assert frechet.distance(np.ones((5, 3)), 3 * np.ones((4, 3))) == pytest.approx(12.0)


def test_order_of_merging_does_not_matter():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((1000, 16)) @ rng.standard_normal((16, 16)) + 1e5
  parts = [frechet.moments(p) for p in np.split(x, [1, 10, 300, 301, 700])]
  one_way = functools.reduce(frechet.Moments.merge, parts)
  other_way = functools.reduce(lambda a, b: b.merge(a), reversed(parts))
  tree = parts[0].merge(parts[5]).merge(parts[3].merge(parts[1])).merge(parts[2].merge(parts[4]))
  for merged in (one_way, other_way, tree):
    assert merged.n == len(x)
    np.testing.assert_allclose(merged.mean, x.mean(0), rtol=1e-13)
    np.testing.assert_allclose(merged.cov, np.cov(x, rowvar=False), rtol=1e-9, atol=1e-9)


def test_covariance_of_many_features():
  """More features and examples than are summed at once, neither a multiple of what is."""
  x = np.random.default_rng(0).standard_normal((1500, 700), dtype=np.float32) + 100
  np.testing.assert_allclose(frechet.moments(x).cov, np.cov(x, rowvar=False, dtype=np.float64), rtol=1e-9, atol=1e-12)


def test_a_single_example_has_no_covariance():
  with pytest.raises(InputError, match="at least 2"):
    frechet.distance(np.zeros((1, 3)), np.zeros((5, 3)))
