"""Couplings: the optimal one against SciPy's assignment, and the laws that neither may change."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, stats

from gen_jax.processes import coupling


def cost(x, eps):
  return float(jnp.square(x - eps).sum())


def test_optimal_is_the_best_permutation():
  key, x = jax.random.key(0), jax.random.uniform(jax.random.key(1), (48, 2, 3), minval=-2)
  eps = jax.jit(coupling.optimal().noise)(key, x)
  given = coupling.independent().noise(key, x)
  order = lambda a: np.sort(np.asarray(a).reshape(48, -1), axis=0)
  np.testing.assert_array_equal(order(eps), order(given))
  squares = np.square(np.asarray(x).reshape(48, 1, -1) - np.asarray(given).reshape(1, 48, -1)).sum(-1)
  best = squares[optimize.linear_sum_assignment(squares)].sum()
  np.testing.assert_allclose(cost(x, eps), best, rtol=1e-5)
  assert best < 0.9 * cost(x, given)


def test_the_noise_stays_normal():
  """As a whole, though not given the example."""
  x = jnp.concatenate([jnp.full((8, 1), -3.0), jnp.full((8, 1), 3.0)])
  eps = jax.jit(jax.vmap(lambda key: coupling.optimal().noise(key, x)))(jax.random.split(jax.random.key(0), 400))
  assert stats.kstest(np.asarray(eps).ravel(), "norm").pvalue > 1e-3
  assert float(eps[:, :8].mean()) < -0.5 < 0.5 < float(eps[:, 8:].mean())
