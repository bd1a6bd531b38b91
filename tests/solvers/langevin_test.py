"""Langevin dynamics at fixed noise, against the stationary law of the discrete chain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.processes import gaussian
from gen_jax.solvers import edm, langevin

PATH = gaussian.edm()
DATA = PATH.problem(lambda t, x: x / (1.0 + t**2))  # of data N(0, 1)


def test_annealed_chain():
  """On N(0, v), x <- (1 - a / 2v) x + sqrt(a) z has variance v / (1 - a / 4v)."""
  solver, t = langevin.annealed(step_size=0.5, rounds=60), jnp.array(1.0)
  v, a = 2.0, 0.5
  x = jax.jit(lambda x: solver.step(DATA, jax.random.key(0), x, t, t, ())[0])(jnp.zeros((20_000, 1)))
  np.testing.assert_allclose(x.var(), v / (1 - a / (4 * v)), rtol=0.04)


def test_corrector_keeps_the_law():
  """After the predictor, many rounds at one level leave N(0, v) as it is, up to the size of their steps."""
  solver = langevin.predictor_corrector(snr=0.16, rounds=40)
  x = np.sqrt(2.0) * jax.random.normal(jax.random.key(1), (20_000, 4))
  t = jnp.array(1.0)
  y = jax.jit(lambda x: solver.step(DATA, jax.random.key(0), x, t, t * 0.999, ())[0])(x)
  np.testing.assert_allclose(y.var(), 2.0, rtol=0.05)
  assert float(jnp.mean(x * y)) < 0.5 * 2.0  # and it has moved


def test_predictor_by_name():
  assert langevin.predictor_corrector("edm.heun").evaluations == edm.heun.evaluations + 1
  with pytest.raises(InputError, match="did you mean"):
    langevin.predictor_corrector("sde.reverse_difusion")
