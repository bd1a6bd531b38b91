"""Dequantisation: it stays inside its interval, its density is a density, and bounds made with it are bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from gen_jax.ops import dequantization, discretized

LEVELS = 5
STEP = 2 / (LEVELS - 1)


@pytest.mark.parametrize("law", ("uniform", "logistic"))
def test_intervals(law):
  """Every y rounds to its level, and intervals of neighbours touch."""
  x = jnp.tile(jnp.linspace(-1, 1, LEVELS), 4000).reshape(-1, 4, 1)
  if law == "uniform":
    y, log_q = dequantization.uniform(jax.random.key(0), x, LEVELS)
  else:
    y, log_q = dequantization.logistic(jax.random.key(0), x, jnp.zeros_like(x), 0.5 * jnp.ones_like(x), LEVELS)
  assert y.shape == x.shape and log_q.shape == (len(x),)
  assert float(jnp.abs(y - x).max()) <= STEP / 2 + 1e-6
  assert float(jnp.abs(y - x).max()) > 0.99 * STEP / 2
  np.testing.assert_allclose(discretized.nearest(x + 0.999 * (y - x), LEVELS), x, atol=1e-6)


def test_density_of_logistic():
  """The density is SciPy's of the logit, changed by hand, and of mass 1."""
  x, mean, log_scale = jnp.full((1000, 1), 0.5), jnp.full((1000, 1), 0.4), jnp.full((1000, 1), -0.3)
  y, log_q = dequantization.logistic(jax.random.key(1), x, mean, log_scale, LEVELS)
  u = (np.asarray(y, np.float64)[:, 0] - 0.5) / STEP + 0.5
  law = stats.logistic(0.4, np.exp(-0.3))
  density = lambda u: law.pdf(special.logit(u)) / (u * (1 - u)) / STEP
  inside = (u > 1e-3) & (u < 1 - 1e-3)
  np.testing.assert_allclose(np.exp(log_q)[inside], density(u)[inside], rtol=2e-3)
  assert integrate.quad(density, 0, 1)[0] * STEP == pytest.approx(1.0, abs=1e-6)
  assert stats.kstest(u, lambda u: law.cdf(special.logit(u))).pvalue > 1e-3


def test_logistic_starts_as_uniform():
  x = jnp.tile(jnp.linspace(-1, 1, LEVELS), 200).reshape(-1, 4, 1)
  y, log_q = dequantization.logistic(jax.random.key(0), x, jnp.zeros_like(x), jnp.zeros_like(x), LEVELS)
  _, expected = dequantization.uniform(jax.random.key(0), x, LEVELS)
  np.testing.assert_allclose(log_q, expected, rtol=1e-5)
  assert stats.kstest(np.asarray(((y - x) / STEP).reshape(-1)) + 0.5, "uniform").pvalue > 1e-3


def test_uniform_bounds_a_mass():
  """Of a normal density: the bound lies below the log mass of the interval, and near it."""
  x = jnp.full((200_000, 1), 0.5)
  y, log_q = dequantization.uniform(jax.random.key(0), x, LEVELS)
  bound = float(jnp.mean(jax.scipy.stats.norm.logpdf(y[:, 0], 0.2, 0.4) - log_q))
  mass = np.log(np.diff(stats.norm(0.2, 0.4).cdf([0.5 - STEP / 2, 0.5 + STEP / 2])))[0]
  assert mass - 0.1 < bound < mass
