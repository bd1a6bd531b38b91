"""The tree is Brownian motion, and the same one for every grid."""

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.processes import gaussian
from gen_jax.solvers import base, brownian, sde

TREE = jax.jit(brownian.tree(jax.random.key(0), 0.2, 1.2, depth=16))


def increment(x, t, s):
  """w(s) - w(t)."""
  return TREE(None, x, jnp.asarray(t), jnp.asarray(s)) * jnp.sqrt(abs(s - t))


def test_increments_add():
  x = jnp.zeros((1000,))
  whole = increment(x, 1.2, 0.2)
  parts = sum(increment(x, t, s) for t, s in ((1.2, 0.9), (0.9, 0.35), (0.35, 0.2)))
  np.testing.assert_allclose(parts, whole, atol=1e-5)
  np.testing.assert_allclose(increment(x, 0.2, 1.2), -whole, atol=1e-6)


def test_increments_are_independent_and_normal():
  x = jnp.zeros((20_000,))
  steps = np.stack([TREE(None, x, jnp.array(t), jnp.array(s)) for t, s in ((0.2, 0.25), (0.25, 0.6), (0.7, 1.1))])
  np.testing.assert_allclose(np.corrcoef(steps), np.eye(3), atol=0.03)
  np.testing.assert_allclose(steps.std(axis=1), 1.0, atol=0.02)
  np.testing.assert_allclose(steps.mean(axis=1), 0.0, atol=0.03)


def test_refining_a_grid_follows_one_path():
  """dx = dw has no error of its own: every grid ends where the path does; independent noise does not."""
  noise = lambda noise: base.SDE(lambda t, x: 0.0 * x, jnp.ones_like, noise)
  run = lambda problem, n: base.integrate(
    sde.euler_maruyama, problem, jax.random.key(n), jnp.zeros((50,)), jnp.linspace(1.2, 0.2, n)
  )
  np.testing.assert_allclose(run(noise(TREE), 4), run(noise(TREE), 17), atol=1e-4)
  assert float(jnp.max(jnp.abs(run(noise(base.independent), 4) - run(noise(base.independent), 17)))) > 0.1


def test_it_knows_no_other_times():
  x, t = jnp.zeros((2, 1)), lambda v: jnp.array(v)
  assert np.isnan(TREE(None, x, t(0.5), t(1.5))).all() and np.isfinite(TREE(None, x, t(0.5), t(1.0))).all()


def test_semilinear_problem_hands_its_noise_on():
  problem = gaussian.cosine().problem(lambda t, x: x)._replace(noise=TREE)
  assert problem.sde().noise is TREE
