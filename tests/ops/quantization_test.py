"""Codebooks: against brute force, weighted means written out, and the best quantizers of a normal distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.ops import quantization
from gen_jax.ops.quantization import Usage

RNG = np.random.default_rng(0)


def test_nearest_agrees_with_all_distances():
  codebook, z = RNG.normal(size=(13, 3)), RNG.normal(size=(4, 5, 3))
  distances = ((z[..., None, :] - codebook) ** 2).sum(-1)
  index = quantization.nearest(jnp.float32(codebook), jnp.float32(z))
  assert index.dtype == jnp.int32
  np.testing.assert_array_equal(index, distances.argmin(-1))


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
  z, q = jnp.array([0.5, -2.0]), jnp.array([1.0, 3.0])
  value, (of_z, of_q) = jax.value_and_grad(lambda z, q: (quantization.straight_through(z, q) ** 3).sum(), (0, 1))(z, q)
  assert value == pytest.approx(1 + 27)
  np.testing.assert_allclose(of_z, 3 * q**2)
  np.testing.assert_array_equal(of_q, 0)


def test_the_codebook_is_a_mean_that_forgets():
  decay, batches = 0.8, [RNG.normal(size=(20, 2)).astype(np.float32) for _ in range(5)]
  indices = [RNG.integers(3, size=20) for _ in batches]  # the fourth vector is never used
  codebook, usage = jnp.full((4, 2), 7.0), Usage(jnp.zeros(4), jnp.zeros((4, 2)))
  for z, index in zip(batches, indices, strict=True):
    codebook, usage = quantization.follow(codebook, usage, z, jnp.int32(index), decay)
  weight = np.concatenate([np.full(20, decay ** (4 - i)) for i in range(5)])
  z, index = np.concatenate(batches), np.concatenate(indices)
  for k in range(3):
    np.testing.assert_allclose(codebook[k], np.average(z[index == k], axis=0, weights=weight[index == k]), rtol=1e-5)
  np.testing.assert_array_equal(codebook[3], 7.0)


def test_a_vector_that_is_forgotten_stays_finite():
  codebook, usage = jnp.array([[0.0], [9.0]]), Usage(jnp.array([1.0, 1.0]), jnp.array([[0.0], [9.0]]))
  for _ in range(12):
    codebook, usage = quantization.follow(codebook, usage, jnp.zeros((4, 1)), jnp.zeros(4, jnp.int32), 1e-4)
  np.testing.assert_allclose(codebook, [[0.0], [9.0]], rtol=1e-5)


def test_only_what_is_hardly_used_starts_again_and_it_is_given_time():
  codebook = jnp.arange(8.0).reshape(4, 2)
  usage = Usage(jnp.array([10.0, 0.1, 5.0, 0.9]), jnp.ones((4, 2)))
  z = jnp.float32(RNG.normal(size=(50, 2)))
  moved, after = quantization.restart(jax.random.key(0), codebook, usage, z, share=0.1)  # of the average, 4
  np.testing.assert_array_equal(moved[jnp.array([0, 2, 3])], codebook[jnp.array([0, 2, 3])])
  assert (moved[1] == z).all(-1).any(), "a vector starts at a code of the batch"
  np.testing.assert_allclose(after.counts, [10.0, 4.0, 5.0, 0.9])
  np.testing.assert_allclose(after.sums[1] / after.counts[1], moved[1], rtol=1e-6)
  np.testing.assert_array_equal(after.sums[0], usage.sums[0])


def test_perplexity_counts_what_is_used_alike():
  assert quantization.perplexity(jnp.arange(60) % 6, 10) == pytest.approx(6, rel=1e-5)
  assert quantization.perplexity(jnp.full(60, 3), 10) == pytest.approx(1, rel=1e-5)
