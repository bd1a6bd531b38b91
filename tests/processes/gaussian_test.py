"""Paths: their known values, and their precision in float32."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax.errors import InputError
from gen_jax.processes import gaussian
from gen_jax.solvers.base import half_log_snr

PATHS = {
  name: f
  for name, f in inspect.getmembers(gaussian, inspect.isfunction)
  if f.__module__ == gaussian.__name__ and not name.startswith("_")
}


def test_linear_is_the_limit_of_ddpm():
  """The product of 1 - beta over DDPM's 1,000 steps, in numpy, is alpha^2 of the continuous path."""
  beta = np.linspace(1e-4, 0.02, 1000)
  alpha_bar = np.cumprod(1 - beta)
  t = (np.arange(1000) + 1) / 1000
  early = slice(0, 500)  # later the products of finite steps fall behind the exponential, by sum(beta^2) / 2
  np.testing.assert_allclose(gaussian.linear().alpha(jnp.array(t))[early] ** 2, alpha_bar[early], rtol=0.02)


def test_cosine_is_that_of_improved_ddpm():
  """Equation 17 of arXiv:2102.09672, in numpy."""
  t = np.linspace(0.01, 0.99, 30)
  f = lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
  np.testing.assert_allclose(gaussian.cosine().alpha(jnp.array(t)) ** 2, f(t) / f(0), rtol=1e-4)


def test_sigmoid():
  """The line `gamma(t)` of arXiv:2212.11972, algorithm 1, in numpy, with other than the default arguments."""
  t, start, end, tau = np.linspace(0.01, 0.99, 30), -3.0, 2.0, 0.7
  s = lambda u: 1 / (1 + np.exp(-u))
  expected = (s(end / tau) - s((t * (end - start) + start) / tau)) / (s(end / tau) - s(start / tau))
  np.testing.assert_allclose(gaussian.sigmoid(start, end, tau).alpha(jnp.array(t)) ** 2, expected, rtol=1e-4)


@pytest.mark.parametrize(("start", "end"), [(0.0, 3.0), (-3.0, 3.0), (-3.0, 0.0), (2.0, 3.0)])
def test_the_steepest_sigmoid_does_not_overflow(start, end):
  """At the least temperature that is allowed, wherever on the logistic function the path lies; float64 in numpy."""
  tau = 1.01 * max(end - start, abs(start), abs(end)) / 170
  path = gaussian.sigmoid(start, end, tau)
  t = np.linspace(path.t_min, path.t_max, 101)
  s = lambda u: 1 / (1 + np.exp(-u / tau))
  # differences from 1 where s is near it, which float64 has no digits for
  fall = lambda a, b: s(b) - s(a) if a < 0 else s(-a) - s(-b)
  u = start + t * (end - start)
  alpha = np.sqrt([fall(v, end) / fall(start, end) for v in u])
  sigma = np.sqrt([fall(start, v) / fall(start, end) for v in u])
  np.testing.assert_allclose(path.alpha(jnp.array(t)), alpha, rtol=1e-3, atol=1e-30)
  np.testing.assert_allclose(path.sigma(jnp.array(t)), sigma, rtol=1e-3, atol=1e-30)


def test_laplace():
  """Uniform times give log(alpha^2 / sigma^2) the Laplace distribution that names the path: quantile by quantile."""
  t = np.linspace(0.001, 0.999, 501)
  log_snr = 2 * half_log_snr(gaussian.laplace(0.4, 0.7), jnp.array(t))
  np.testing.assert_allclose(stats.laplace(0.4, 0.7).cdf(log_snr), 1 - t, atol=1e-6)


def test_sub_vp_is_linear_with_less_noise():
  path, vp, t = gaussian.sub_vp(), gaussian.linear(), jnp.linspace(0.01, 1.0, 30)
  np.testing.assert_allclose(path.alpha(t), vp.alpha(t), rtol=1e-6)
  np.testing.assert_allclose(path.sigma(t), vp.sigma(t) ** 2, rtol=1e-5)


def test_ve_is_geometric():
  """The noise levels of NCSN: a geometric sequence, from the first to the last."""
  path = gaussian.ve(0.02, 30.0)
  np.testing.assert_allclose(path.sigma(jnp.linspace(0.0, 1.0, 11)), np.geomspace(0.02, 30.0, 11), rtol=1e-5)
  np.testing.assert_array_equal(path.alpha(jnp.linspace(0.0, 1.0, 11)), 1.0)


@pytest.mark.parametrize("name", ("linear", "cosine", "sigmoid", "laplace", "trigonometric"))
def test_variance_preserving(name):
  path = PATHS[name]()
  t = jnp.linspace(path.t_min, path.t_max, 100)
  np.testing.assert_allclose(path.alpha(t) ** 2 + path.sigma(t) ** 2, 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", PATHS)
def test_precision_at_the_ends(name):
  """log(alpha / sigma) and its slope in float32 are those of float64, falling and finite, from t_min to t_max."""
  path = PATHS[name]()
  near_ends = np.array([0, 1e-6, 1e-4, 0.5, 1 - 1e-4, 1 - 1e-6, 1])
  t = (path.t_min + near_ends * (path.t_max - path.t_min)).astype(np.float32)

  def values(t):
    return jax.jvp(lambda t: half_log_snr(path, t), (t,), (jnp.ones_like(t),))

  single = values(jnp.array(t))
  with jax.enable_x64(True):
    double = values(jnp.array(t, jnp.float64))
  assert single[0].dtype == jnp.float32 and double[0].dtype == jnp.float64
  np.testing.assert_allclose(single[0], double[0], rtol=0, atol=3e-5)
  np.testing.assert_allclose(single[1], double[1], rtol=3e-5)
  assert np.all(single[1] < 0)


@pytest.mark.parametrize("name", PATHS)
def test_perturb(name):
  """Moments of q(xt | x0), and xt = alpha x0 + sigma eps, at times that differ within a batch."""
  path = PATHS[name]()
  x, t = jnp.full((2, 50_000), 0.7), jnp.array([0.2, 0.9])
  xt, eps = path.perturb(jax.random.key(0), x, t)
  for i in range(2):
    a, s = float(path.alpha(t[i])), float(path.sigma(t[i]))
    assert abs(float(xt[i].mean()) - a * 0.7) < 5 * s / np.sqrt(50_000)
    assert abs(float(xt[i].std()) / s - 1) < 5 / np.sqrt(100_000)
    np.testing.assert_allclose(xt[i], a * 0.7 + s * eps[i], rtol=1e-5, atol=1e-6)


def test_prior():
  x = gaussian.edm().prior(jax.random.key(0), (50_000,))
  assert abs(float(x.std()) / 80.0 - 1) < 5 / np.sqrt(100_000)


@pytest.mark.parametrize(
  "path, message",
  [
    (lambda: gaussian.linear(t_min=0.0), "t_min = 0.0 should be positive"),
    (lambda: gaussian.linear(t_min=2.0), "0 <= t_min < t_max, and go from 2.0 to 1.0"),
    (lambda: gaussian.linear(beta_min=3.0, beta_max=2.0), "beta_max = 2.0 should be above beta_min"),
    (lambda: gaussian.cosine(t_max=1.5), "t_max = 1.5 should be below 1"),
    (lambda: gaussian.sigmoid(tau=-1.0), "tau = -1.0 should be positive"),
    (lambda: gaussian.sigmoid(tau=0.03), "tau = 0.03 should be at least 0.0352941"),
    (lambda: gaussian.laplace(scale=0.0), "scale = 0.0 should be positive"),
    (lambda: gaussian.trigonometric(t_max=1.6), "t_max = 1.6 should be below 1.5708"),
    (lambda: gaussian.ve(sigma_min=-1.0), "sigma_min = -1.0 should be positive"),
    (lambda: gaussian.edm(sigma_min=90.0), "sigma_max = 80.0 should be above sigma_min"),
    (lambda: gaussian.rectified(t_max=1.1), "t_max = 1.1 should be at most 1"),
  ],
)
def test_no_path_is_made_of_other_arguments(path, message):
  with pytest.raises(InputError, match=re.escape(message)):
    path()
