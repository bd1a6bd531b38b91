"""Divergences of fields whose Jacobian is written down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.ops.divergence import Exact, Hutchinson

MATRIX = np.array([[0.5, 2.0, 0.0], [-1.0, 0.3, 1.0], [0.7, 0.0, -1.1]], np.float32)
X = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


def field(x):
  """A x + sin(x), whose divergence is tr A + sum cos x."""
  return x @ MATRIX.T + jnp.sin(x)


def trace(x):
  return np.trace(MATRIX) + np.cos(x).sum(-1)


@pytest.mark.parametrize("divergence", (Exact(), Hutchinson(draws=3)), ids=("exact", "hutchinson"))
def test_value_of_the_field(divergence):
  """The first result is f(x), and images are vectors of another shape."""
  image = lambda x: field(x.reshape(-1, 3)).reshape(x.shape)
  x = jnp.array(X).reshape(5, 1, 3, 1)
  y, estimates = jax.jit(lambda x: divergence(image, x, divergence.probes(jax.random.key(0), x)))(x)
  np.testing.assert_allclose(y, field(X).reshape(x.shape), rtol=1e-5, atol=1e-6)
  assert estimates.shape == (5, divergence.columns)


def test_exact():
  _, estimates = Exact()(field, jnp.array(X), Exact().probes(jax.random.key(0), X))
  np.testing.assert_allclose(estimates[:, 0], trace(X), rtol=1e-5)


def test_exact_in_chunks(monkeypatch):
  """However few directions fit at once."""
  monkeypatch.setattr("gen_jax.ops.divergence._CHUNK", 30)
  test_exact()


@pytest.mark.parametrize("law", ("rademacher", "gaussian"))
def test_hutchinson(law):
  """Its mean is the trace; its variance is 2 |S|_F^2 with S the symmetric part, less the diagonal for signs."""
  divergence = Hutchinson(draws=40_000, law=law)
  _, estimates = divergence(field, jnp.array(X[:2]), divergence.probes(jax.random.key(1), X[:2]))
  for i in range(2):
    symmetric = (MATRIX + MATRIX.T) / 2 + np.diag(np.cos(X[i]))
    variance = 2 * (np.square(symmetric).sum() - (np.square(np.diag(symmetric)).sum() if law == "rademacher" else 0.0))
    assert abs(estimates[i].mean() - trace(X[i])) < 4 * np.sqrt(variance / divergence.draws)
    np.testing.assert_allclose(estimates[i].var(), variance, rtol=0.1)


def test_bad_input():
  with pytest.raises(InputError, match="at least 1"):
    Hutchinson(draws=0)
