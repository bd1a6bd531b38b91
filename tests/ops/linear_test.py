"""Linear parts against matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.ops.linear import linear_part


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_they_are_the_matrix_and_its_transpose(offset):
  a = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]], np.float32)
  parts = lambda: linear_part(lambda x: x @ a.T + offset, jnp.zeros((5, 3)))
  x, v = np.arange(15, dtype=np.float32).reshape(5, 3), np.arange(10, dtype=np.float32).reshape(5, 2)
  np.testing.assert_allclose(jax.jit(lambda x: parts()[0](x))(x), x @ a.T, rtol=1e-5)
  np.testing.assert_allclose(jax.jit(lambda v: parts()[1](v))(v), v @ a, rtol=1e-5)


@pytest.mark.parametrize(
  "measure",
  [
    jnp.square,
    jnp.sin,
    lambda x: x[:, :1] * x[:, 1:2],
    lambda x: 1 / x,
    lambda x: jnp.where(x > 0, x, 0.0),
    lambda x: x.astype(int),
  ],
)
def test_what_is_not_affine_is_refused(measure):
  with pytest.raises(InputError, match="measure should be affine"):
    linear_part(measure, jnp.zeros((5, 3)))
  with pytest.raises(InputError, match="measure should be affine"):
    jax.eval_shape(lambda x: linear_part(measure, x)[1](x), jnp.zeros((5, 3)))
