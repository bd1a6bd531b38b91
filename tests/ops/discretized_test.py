"""Masses on the grid of pixel values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gen_jax.ops import discretized

KINDS = {"logistic": (discretized.logistic, scipy.stats.logistic), "gaussian": (discretized.gaussian, scipy.stats.norm)}


def grid(levels):
  return jnp.asarray(2 * np.arange(levels) / (levels - 1) - 1, jnp.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("mean, scale", [(0.0, 1.0), (0.3, 0.05), (-1.2, 0.02), (5.0, 1.0), (0.11, 1e-3)])
def test_masses_sum_to_one(kind, levels, mean, scale):
  log_mass = KINDS[kind][0](grid(levels), jnp.float32(mean), jnp.log(scale), levels)
  np.testing.assert_allclose(np.exp(np.float64(log_mass)).sum(), 1.0, rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_masses_are_differences_of_the_distribution_function(kind):
  ours, oracle = KINDS[kind]
  levels, mean, scale = 17, 0.2, 0.15
  edges = np.concatenate([[-np.inf], 2 * (np.arange(1, levels) - 0.5) / (levels - 1) - 1, [np.inf]])
  expected = np.diff(oracle.cdf(edges, mean, scale))
  np.testing.assert_allclose(np.exp(ours(grid(levels), mean, jnp.log(scale), levels)), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_far_tails_keep_their_value_and_gradient(kind):
  """Fifty scales away the mass underflows float32, but its logarithm and the gradient are those of the tail."""
  fn = KINDS[kind][0]
  z, half = 50.0, 1 / 255
  value, slope = jax.value_and_grad(lambda m: fn(jnp.float32(0.0), m, jnp.log(0.01), 256))(0.01 * z)
  near, far = half / 0.01 - z, -half / 0.01 - z  # the ends of the interval, as points of the left tail
  if kind == "logistic":
    expected, rate = near + np.log1p(-np.exp(far - near)), -1 / 0.01
  else:
    tail = scipy.stats.norm.logcdf
    expected, rate = tail(near) + np.log1p(-np.exp(tail(far) - tail(near))), near / 0.01
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(slope, rate, rtol=1e-3)


@pytest.mark.parametrize("log_scale", [-0.35, -0.2, 5.0, 12.0, 60.0])  # of 256 levels, those from -0.24 on are narrow
@pytest.mark.parametrize("middle", [0.0, -2.5, 40.0, -300.0])  # in scales from the mean
def test_the_mass_of_a_narrow_interval_is_the_integral_of_the_density(log_scale, middle):
  scale, levels, x = np.exp(np.float64(log_scale)), 256, np.float64(grid(256)[100])
  half = 1 / 255 / scale
  nodes, weights = np.polynomial.legendre.leggauss(20)
  exponents = -((middle + half * nodes) ** 2) / 2
  expected = exponents.max() + np.log((weights * np.exp(exponents - exponents.max())).sum() * half / np.sqrt(2 * np.pi))
  mass = lambda mean, log_scale: discretized.gaussian(jnp.float32(x), mean, log_scale, levels)
  mean = jnp.float32(x - middle * scale)
  middle = (x - np.float64(mean)) / scale  # as rounded
  value, slopes = jax.value_and_grad(mass, (0, 1))(mean, jnp.float32(log_scale))
  np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-4)
  np.testing.assert_allclose(slopes[0] * scale, middle, rtol=1e-2, atol=1e-2)
  np.testing.assert_allclose(slopes[1], middle**2 - 1, rtol=1e-2, atol=1e-2)


def test_nearest_turns_draws_into_levels_with_the_right_masses():
  levels, mean, scale = 5, 0.4, 0.3
  x = discretized.nearest(mean + scale * jax.random.logistic(jax.random.key(0), (100_000,)), levels)
  counts = (np.asarray(x)[:, None] == np.asarray(grid(levels))).mean(0)
  assert counts.sum() == 1.0, "draws are exactly on the levels"
  masses = np.exp(discretized.logistic(grid(levels), mean, jnp.log(scale), levels))
  np.testing.assert_allclose(counts, masses, atol=4 * 0.5 / np.sqrt(100_000))


def test_nearest_ends_with_the_levels():
  far = jnp.array([-3.0, -1.2, 0.24, 0.26, 5.0])
  np.testing.assert_allclose(discretized.nearest(far, 5), [-1.0, -1.0, 0.0, 0.5, 1.0], atol=1e-6)
