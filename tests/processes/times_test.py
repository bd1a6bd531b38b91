"""Densities of training times, and weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax.processes import gaussian, prediction, times, weighting
from gen_jax.solvers.base import half_log_snr

PATHS = {f.__name__: f() for f in (gaussian.linear, gaussian.cosine, gaussian.edm, gaussian.rectified)}


@pytest.mark.parametrize("make", (times.uniform, times.low_discrepancy, times.lognormal))
@pytest.mark.parametrize("path", PATHS)
def test_range(make, path):
  path = PATHS[path]
  t = make()(jax.random.key(0), path, 5000)
  assert t.shape == (5000,)
  assert float(t.min()) >= np.float32(path.t_min) and float(t.max()) <= np.float32(path.t_max)


@pytest.mark.parametrize("make", (times.uniform, times.low_discrepancy))
def test_uniform(make):
  """Over many keys, one time of a batch is uniform."""
  path = PATHS["cosine"]
  t = jax.vmap(lambda key: make()(key, path, 4)[2])(jax.random.split(jax.random.key(0), 4000))
  assert stats.kstest(np.asarray(t), stats.uniform(path.t_min, path.t_max - path.t_min).cdf).pvalue > 1e-3


def test_low_discrepancy_fills_every_stratum():
  path = PATHS["rectified"]
  t = np.sort(np.asarray(times.low_discrepancy()(jax.random.key(0), path, 64)))
  np.testing.assert_allclose(np.diff(t), (path.t_max - path.t_min) / 64, rtol=1e-3)


@pytest.mark.parametrize("path", PATHS)
def test_lognormal(path):
  """log(sigma / alpha) is normal with the given moments on any path."""
  t = times.lognormal(-0.4, 0.7)(jax.random.key(0), PATHS[path], 4000)
  level = -half_log_snr(PATHS[path], t)
  assert stats.kstest(np.asarray(level), stats.norm(-0.4, 0.7).cdf).pvalue > 1e-3


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
  "weight, predict",
  (
    (weighting.simple(), prediction.eps()),
    (weighting.edm(0.3), prediction.edm(0.3)),
    (weighting.edm(1.0), prediction.v()),
    (weighting.x0(), prediction.x0()),
  ),
)
def test_unit_weight_on_the_output(weight, predict, path):
  """Each weight that is named after an output gives the error of that output weight 1 at every noise level."""
  path = PATHS[path]
  t = jnp.linspace(path.t_min, path.t_max, 20)
  np.testing.assert_allclose(weight((path.alpha(t) / path.sigma(t)) ** 2) * predict(path, t).gain ** 2, 1.0, rtol=1e-4)


def test_min_snr():
  np.testing.assert_allclose(weighting.min_snr(5.0)(jnp.array([0.1, 5.0, 70.0])), [0.1, 5.0, 5.0])
