"""Batches of one size, and numbers that broadcast."""

import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.ops.shapes import batches, expand


@pytest.mark.parametrize("num, size", [(1, 1), (5, 2), (6, 3), (2, 5)])
def test_batches_have_one_size_and_hold_every_index_in_order(num, size):
  rows = batches(num, size)
  assert {len(r) for r in rows} == {size} and len(rows) == -(-num // size)
  joined = np.concatenate(rows)
  assert joined[:num].tolist() == list(range(num)) and joined.max() < num


def test_expand():
  x = jnp.ones((2, 3, 4))
  assert expand(jnp.arange(2.0), x).shape == (2, 1, 1) and expand(jnp.float32(3.0), x).shape == ()
