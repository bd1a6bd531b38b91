"""Densities of training times, and weights."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax.processes import gaussian, prediction, times, weighting
from gen_jax.solvers.base import half_log_snr

PATHS = {f.__name__: f() for f in (gaussian.linear, gaussian.cosine, gaussian.edm, gaussian.rectified)}
MAKERS = [
  f for name, f in vars(times).items() if inspect.isfunction(f) and name[0] != "_" and f.__module__ == times.__name__
]


def draw(density, key, path, num):
  """Times before anything is learned."""
  return density.draw(key, path, num, density.start())[0]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("path", PATHS)
def test_range(make, path):
  path = PATHS[path]
  density = make()
  t, weight = density.draw(jax.random.key(0), path, 5000, density.start())
  assert t.shape == weight.shape == (5000,)
  assert float(t.min()) >= np.float32(path.t_min) and float(t.max()) <= np.float32(path.t_max)
  np.testing.assert_allclose(weight, 1.0, rtol=1e-6)


@pytest.mark.parametrize("make", (times.uniform, times.low_discrepancy, times.importance))
def test_uniform(make):
  """Over many keys, one time of a batch is uniform."""
  path, density = PATHS["cosine"], make()
  t = jax.vmap(lambda key: draw(density, key, path, 4)[2])(jax.random.split(jax.random.key(0), 4000))
  assert stats.kstest(np.asarray(t), stats.uniform(path.t_min, path.t_max - path.t_min).cdf).pvalue > 1e-3


def test_low_discrepancy_fills_every_stratum():
  path = PATHS["rectified"]
  t = np.sort(np.asarray(draw(times.low_discrepancy(), jax.random.key(0), path, 64)))
  np.testing.assert_allclose(np.diff(t), (path.t_max - path.t_min) / 64, rtol=1e-3)


@pytest.mark.parametrize("path", PATHS)
def test_lognormal(path):
  """log(sigma / alpha) is normal with the given moments on any path."""
  t = draw(times.lognormal(-0.4, 0.7), jax.random.key(0), PATHS[path], 4000)
  level = -half_log_snr(PATHS[path], t)
  assert stats.kstest(np.asarray(level), stats.norm(-0.4, 0.7).cdf).pvalue > 1e-3


def test_logit_normal():
  """The logit of t is log(sigma / alpha) on the rectified path: that level has the law that was asked for."""
  path = gaussian.rectified(t_min=1e-6, t_max=1.0)
  level = -half_log_snr(path, draw(times.logit_normal(0.5, 0.8), jax.random.key(0), path, 4000))
  assert stats.kstest(np.asarray(level), stats.norm(0.5, 0.8).cdf).pvalue > 1e-3


def test_levels():
  """All of the times, the ends included, equally often; one alone is the least."""
  path = gaussian.ve(0.1, 10.0, t_min=1e-6)
  t = draw(times.levels(5), jax.random.key(0), path, 20_000)
  sigmas, counts = np.unique(np.asarray(path.sigma(t)), return_counts=True)
  np.testing.assert_allclose(sigmas, np.geomspace(0.1, 10.0, 5), rtol=1e-4)
  assert stats.chisquare(counts).pvalue > 1e-3
  assert (draw(times.levels(1), jax.random.key(0), path, 3) == np.float32(1e-6)).all()


def test_importance():
  """It learns sqrt(E[loss^2]); its weighted mean is that of uniform times, with less variance."""
  path, density = gaussian.rectified(t_min=1e-6, t_max=1.0), times.importance(bins=16, floor=0.05)
  loss = lambda t: jnp.exp(4 * t)

  @jax.jit
  def learned(keys):
    def step(memory, key):
      t, _ = density.draw(key, path, 512, memory)
      return density.learn(memory, path, t, loss(t)), None

    memory, _ = jax.lax.scan(step, density.start(), keys)
    return memory, density.draw(keys[-1], path, 100_000, memory)

  memory, (t, weight) = learned(jax.random.split(jax.random.key(0), 20))
  assert bool(memory["seen"].all())
  edges = np.linspace(0, 1, 17)
  second = np.diff(np.exp(8 * edges) / 8) * 16  # mean of loss^2 in each part
  expected = 0.95 * np.sqrt(second) / np.sqrt(second).sum() + 0.05 / 16
  shares = np.histogram(np.asarray(t), edges)[0] / 100_000
  np.testing.assert_allclose(shares, expected, rtol=0.05)
  exact, uniform = (np.exp(4) - 1) / 4, np.var(np.exp(4 * np.linspace(0, 1, 10_001)))
  assert float((weight * loss(t)).mean()) == pytest.approx(exact, rel=0.01)
  assert float((weight * loss(t)).var()) < 0.1 * uniform
  assert float(weight.max()) <= 1 / 0.05


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
  "weight, predict",
  (
    (weighting.simple(), prediction.eps()),
    (weighting.edm(0.3), prediction.edm(0.3)),
    (weighting.edm(1.0), prediction.v()),
    (weighting.x0(), prediction.x0()),
    (weighting.velocity(), prediction.velocity()),
  ),
)
def test_unit_weight_on_the_output(weight, predict, path):
  """Each weight that is named after an output gives the error of that output weight 1 at every noise level."""
  path = PATHS[path]
  t = jnp.linspace(path.t_min, path.t_max, 20)
  np.testing.assert_allclose(weight(path, t) * predict(path, t).gain ** 2, 1.0, rtol=1e-4)


SNR = np.array([0.1, 5.0, 70.0])


@pytest.mark.parametrize(
  "weight, expected",
  (
    (weighting.min_snr(5.0), [0.1, 5.0, 5.0]),
    (weighting.p2(1.0, 1.0), SNR / (1 + SNR)),
    (weighting.p2(0.5, 2.0), SNR / np.sqrt(2 + SNR)),
  ),
)
def test_of_the_signal_to_noise_ratio(weight, expected):
  np.testing.assert_allclose(weight(gaussian.edm(), jnp.array(SNR**-0.5, jnp.float32)), expected, rtol=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_likelihood(path):
  """The weight integrates to half of the fall of snr: over the path, and over any part of it."""
  path = PATHS[path]
  with jax.enable_x64(True):
    t = jnp.exp(jnp.linspace(jnp.log(path.t_min), jnp.log(path.t_max), 20_001))
    weight = weighting.likelihood()(path, t) / (path.t_max - path.t_min)
    snr = np.exp(2 * np.asarray(half_log_snr(path, t)))
  for part in (slice(None), slice(9000, 15_000)):
    assert np.trapezoid(weight[part], t[part]) == pytest.approx((snr[part][0] - snr[part][-1]) / 2, rel=1e-4)
