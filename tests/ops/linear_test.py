"""Adjoints against matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.ops.linear import adjoint


def test_it_is_the_transposed_matrix():
  a = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]], np.float32)
  back = jax.jit(lambda v: adjoint(lambda x: x @ a.T, jnp.zeros((5, 3)))(v))
  v = np.arange(10, dtype=np.float32).reshape(5, 2)
  np.testing.assert_allclose(back(v), v @ a, rtol=1e-6)


@pytest.mark.parametrize("measure", [jnp.square, jnp.sin, lambda x: x[:, :1] * x[:, 1:2], lambda x: jnp.maximum(x, 0)])
def test_what_is_not_linear_is_refused(measure):
  with pytest.raises(InputError, match="measure should be linear"):
    adjoint(measure, jnp.zeros((5, 3)))
  with pytest.raises(InputError, match="measure should be linear"):
    jax.eval_shape(lambda x: adjoint(measure, x)(x), jnp.zeros((5, 3)))
