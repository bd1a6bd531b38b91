"""The learned schedule: monotone, between its ends, whatever its parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.processes.learned import Monotone
from gen_jax.solvers.base import half_log_snr


@pytest.mark.parametrize("spread", (0.0, 1.0, 3.0))
def test_monotone(spread):
  """As it starts, and with parameters far from there; always variance preserving, and with the ends it has learned."""
  schedule = Monotone(gamma_min=-7.0, gamma_max=5.0)
  params = schedule.start(jax.random.key(0))
  leaves, tree = jax.tree.flatten(params["shape"])
  keys = jax.random.split(jax.random.key(1), len(leaves))
  shape = [leaf + spread * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
  path = schedule.at({**params, "shape": tree.unflatten(shape)})
  t = jnp.linspace(path.t_min, path.t_max, 201)
  gamma = -2 * np.asarray(half_log_snr(path, t))
  assert (np.diff(gamma) > 0).all()
  np.testing.assert_allclose(gamma[[0, -1]], [-7.0, 5.0], rtol=1e-4)
  np.testing.assert_allclose(path.alpha(t) ** 2 + path.sigma(t) ** 2, 1.0, rtol=1e-5)


def test_bad_input():
  with pytest.raises(InputError, match="less than"):
    Monotone(gamma_min=3.0, gamma_max=-3.0)
