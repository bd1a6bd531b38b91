"""Observation models: they are normalised, and their draws follow them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gen_jax.errors import InputError
from gen_jax.ops import discretized, likelihoods
from gen_jax.types import Spec

LEVELED = [
  (likelihoods.Bernoulli(), 2),
  (likelihoods.DiscretizedGaussian(scale=0.3), 9),
  (likelihoods.DiscretizedGaussian(), 9),
  (likelihoods.DiscretizedLogistic(scale=0.2), 9),
  (likelihoods.DiscretizedLogistic(), 9),
]


@pytest.mark.parametrize("model, levels", LEVELED)
def test_draws_follow_the_masses(model, levels):
  num = 40_000
  out = jnp.array([0.4, -0.9])[: model.heads]
  x = model.sample(jax.random.key(0), jnp.broadcast_to(out, (num, model.heads)), levels)
  grid = jnp.linspace(-1, 1, levels)
  masses = np.exp(model.log_prob(grid, out, levels))
  np.testing.assert_allclose(masses.sum(), 1.0, rtol=1e-5)
  counts = (np.abs(np.asarray(x)[:, None] - np.asarray(grid)) < 1e-6).mean(0)
  np.testing.assert_allclose(counts, masses, atol=4 * 0.5 / np.sqrt(num))


@pytest.mark.parametrize("model, levels", [*LEVELED, (likelihoods.Gaussian(), 0)])
def test_derivatives_are_those_of_differences(model, levels):
  key = jax.random.key(0)
  x = discretized.nearest(jax.random.uniform(key, (4, 3), minval=-1.2, maxval=1.2), levels or 99)
  log_prob = jax.jit(lambda out: model.log_prob(jnp.sign(x + 0.1) if levels == 2 else x, out, levels))
  check_grads(log_prob, (jax.random.normal(key, (4, 3, model.heads)),), order=1, rtol=0.02)


def test_bernoulli_mean_is_that_of_its_draws():
  out = jnp.array([[1.5]])
  p = 1 / (1 + np.exp(-1.5))
  np.testing.assert_allclose(likelihoods.Bernoulli().mean(out), [p - (1 - p)], rtol=1e-5)


@pytest.mark.parametrize("model", [likelihoods.Gaussian(scale=0.5), likelihoods.Gaussian()])
def test_gaussian_density_integrates_to_one_and_draws_follow_it(model):
  out = jnp.array([0.3, -1.0])[: model.heads]
  x = np.linspace(-8, 8, 4001)
  p = np.exp(np.float64(model.log_prob(jnp.asarray(x, jnp.float32), out, 0)))
  mean, var = np.trapezoid(p * x, x), np.trapezoid(p * (x - 0.3) ** 2, x)
  np.testing.assert_allclose([np.trapezoid(p, x), mean], [1.0, 0.3], rtol=1e-4)
  draws = np.asarray(model.sample(jax.random.key(1), jnp.broadcast_to(out, (40_000, model.heads)), 0))
  np.testing.assert_allclose([draws.mean(), draws.var()], [mean, var], rtol=0.03)


def test_a_learned_scale_stays_above_its_floor():
  model = likelihoods.Gaussian(floor=0.1)
  at = lambda raw: float(model.log_prob(jnp.zeros(()), jnp.array([0.0, raw]), 0)) + 0.5 * np.log(2 * np.pi)
  assert np.exp(-at(-50.0)) == pytest.approx(0.1, rel=1e-4)
  assert np.exp(-at(6.0)) == pytest.approx(np.exp(6.0), rel=0.01), "and is e^raw far above it"


@pytest.mark.parametrize(
  "model, spec, message",
  [
    (likelihoods.Bernoulli(), Spec(shape=(8, 8, 1), kind="image", levels=17), "17 levels: binarize"),
    (likelihoods.Bernoulli(), Spec(shape=(2,), kind="vector"), "vectors"),
    (likelihoods.DiscretizedLogistic(), Spec(shape=(2,), kind="vector"), "use likelihoods.Gaussian"),
    (likelihoods.Gaussian(scale=0.0), Spec(shape=(2,), kind="vector"), "scale = 0.0 should be positive"),
  ],
)
def test_a_model_that_does_not_fit_the_data_says_so(model, spec, message):
  with pytest.raises(InputError, match=message):
    model.check(spec)
