"""Every objective has its minimum at the true score: here of normal data, among fields -c x."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.processes import score_matching

STD, SIGMA, DIM, NUM = 0.7, 0.4, 4, 50_000
BEST = 1 / (STD**2 + SIGMA**2)
OBJECTIVES = {
  "denoising": score_matching.denoising(),
  "exact": score_matching.exact(),
  "sliced": score_matching.sliced(draws=2),
  "sliced, gaussian": score_matching.sliced(law="gaussian"),
  "sliced, not reduced": score_matching.sliced(law="gaussian", reduced=False),
}


@pytest.fixture(scope="module")
def data():
  x0, eps = jax.random.normal(jax.random.key(0), (2, NUM, DIM))
  return STD * x0 + SIGMA * eps, -eps / SIGMA


@pytest.mark.parametrize("name", OBJECTIVES)
def test_minimum(name, data):
  """A parabola in c through three points; its lowest point, and its height but for the constant of denoising."""
  x, slope = data
  loss = jax.jit(lambda c: OBJECTIVES[name](lambda x: -c * x, jax.random.key(1), x, slope))
  c = BEST * np.array([0.5, 1.0, 1.5])
  values = np.array([loss(float(v)) for v in c])
  curvature, linear, _ = np.polyfit(c, values.mean(-1), 2)
  assert -linear / (2 * curvature) == pytest.approx(BEST, rel=0.03)
  expected = DIM * (c**2 / BEST / 2 - c) + (DIM / SIGMA**2 / 2 if name == "denoising" else 0)
  assert (np.abs(values.mean(-1) - expected) < 5 * values.std(-1) / NUM**0.5).all()


def test_sliced_is_unbiased_per_example():
  """Of a field with a full Jacobian: over many directions it is the exact objective, example by example."""
  matrix = jnp.array(np.random.default_rng(0).standard_normal((DIM, DIM)))
  x = jax.random.normal(jax.random.key(2), (6, DIM))
  field = lambda x: jnp.tanh(x @ matrix)
  exact = score_matching.exact()(field, jax.random.key(0), x, x)
  jacobian = jax.vmap(jax.jacobian(lambda x: jnp.tanh(x @ matrix)))(x)
  by_hand = jnp.trace(jacobian, axis1=1, axis2=2) + jnp.square(field(x)).sum(-1) / 2
  np.testing.assert_allclose(exact, by_hand, rtol=1e-4)
  for reduced in (True, False):
    sliced = score_matching.sliced(20_000, "gaussian", reduced)(field, jax.random.key(1), x, x)
    np.testing.assert_allclose(sliced, exact, atol=0.15)
