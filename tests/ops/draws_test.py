"""Points that are uniform one by one and even together."""

import jax
import numpy as np
import pytest

from gen_jax.ops.draws import systematic


def test_one_point_in_each_part():
  for seed in range(20):
    points = np.asarray(systematic(jax.random.key(seed), 7))
    assert sorted((points * 7).astype(int)) == list(range(7))


def test_each_point_is_uniform():
  points = np.asarray(jax.vmap(lambda key: systematic(key, 4))(jax.random.split(jax.random.key(0), 20_000)))
  np.testing.assert_allclose(points.mean(0), 0.5, atol=0.01)
  assert points.var(0) == pytest.approx(1 / 12, rel=0.02)
