"""Normal densities and the KL divergence to the standard one."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from gen_jax.ops import gaussians


def test_log_prob_is_that_of_scipy():
  rng = np.random.default_rng(0)
  x, mean, log_std = (rng.normal(size=(5, 3)).astype(np.float32) for _ in range(3))
  expected = scipy.stats.norm.logpdf(x, mean, np.exp(log_std))
  np.testing.assert_allclose(gaussians.log_prob(x, mean, log_std), expected, rtol=1e-4)
  np.testing.assert_allclose(gaussians.log_prob(x, mean, log_std, axes=1), expected.sum(-1), rtol=1e-4)


def test_kl_is_the_expected_log_ratio():
  mean, log_std, num = jnp.array([0.7, -1.0]), jnp.array([-0.5, 0.4]), 400_000
  z = mean + jnp.exp(log_std) * jax.random.normal(jax.random.key(0), (num, 2))
  ratio = gaussians.log_prob(z, mean, log_std) - gaussians.log_prob(z)
  error = 4 * np.asarray(ratio).std(0) / np.sqrt(num)
  assert np.all(np.abs(gaussians.kl_to_standard(mean, log_std) - ratio.mean(0)) < error)
