"""Grids against their formulas, and the inverse of log(alpha / sigma)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.processes import gaussian
from gen_jax.solvers import grids
from gen_jax.solvers.base import half_log_snr

PATHS = {f.__name__: f() for f in (gaussian.linear, gaussian.cosine, gaussian.edm, gaussian.rectified)}


def test_rho_is_that_of_edm():
  """Equation 5 of arXiv:2206.00364 with its defaults, in numpy."""
  i, num = np.arange(18), 18
  sigma = (80 ** (1 / 7) + i / (num - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
  np.testing.assert_allclose(grids.rho()(gaussian.edm(), 17), sigma, rtol=1e-4)


@pytest.mark.parametrize("path", PATHS)
def test_log_snr_is_even(path):
  path = PATHS[path]
  gaps = np.diff(np.asarray(half_log_snr(path, grids.log_snr()(path, 20))))
  np.testing.assert_allclose(gaps, gaps.mean(), rtol=5e-3)


@pytest.mark.parametrize("path", PATHS)
def test_time_at_inverts(path):
  path = PATHS[path]
  t = jnp.geomspace(path.t_min, path.t_max, 50)
  np.testing.assert_allclose(grids.time_at(path, half_log_snr(path, t)), t, rtol=2e-4)
  np.testing.assert_allclose(grids.time_at(path, jnp.array([99.0, -99.0])), [path.t_min, path.t_max], rtol=1e-6)


def test_grids_compile():
  path = PATHS["cosine"]
  for grid in (grids.linear(), grids.rho(), grids.log_snr()):
    np.testing.assert_allclose(jax.jit(lambda grid=grid: grid(path, 8))(), grid(path, 8), rtol=1e-5)
