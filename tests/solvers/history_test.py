"""Polynomials through past values, against integrals in closed form."""

import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.solvers.history import empty, integrals


@pytest.mark.parametrize("num", (1, 2, 3, 4))
def test_integrals_are_exact_for_polynomials(num):
  """Weighted with the values of u^k, k < num, they integrate e^u u^k, here by hand."""
  places = tuple(jnp.array(v) for v in (0.3, 0.1, -0.2, -0.9)[:num])
  weights = integrals(jnp.exp, places, jnp.array(0.3), jnp.array(1.1))
  primitive = {
    0: lambda u: 1.0,
    1: lambda u: u - 1,
    2: lambda u: u**2 - 2 * u + 2,
    3: lambda u: u**3 - 3 * u**2 + 6 * u - 6,
  }
  for k in range(num):
    exact = np.exp(1.1) * primitive[k](1.1) - np.exp(0.3) * primitive[k](0.3)
    np.testing.assert_allclose(sum(w * p**k for w, p in zip(weights, places, strict=True)), exact, rtol=1e-4)


def test_what_a_history_begins_with_is_not_felt():
  """With two real values of four, the weights are those of the line through the two."""
  x = jnp.ones((2, 1))
  past = empty(x, 4).push(x, jnp.array(-0.4)).push(x, jnp.array(0.0))
  weights = integrals(jnp.ones_like, past.places, jnp.array(0.0), jnp.array(0.2))
  np.testing.assert_allclose(weights, [0.2 + 0.05, -0.05, 0.0, 0.0], atol=1e-6)
