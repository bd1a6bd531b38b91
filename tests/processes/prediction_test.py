"""Predictions against their definitions, and against each other."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.ops.shapes import expand
from gen_jax.processes import gaussian, prediction

PATHS = {
  f.__name__: f()
  for f in (gaussian.linear, gaussian.cosine, gaussian.edm, gaussian.rectified, gaussian.sub_vp, gaussian.trigonometric)
}
PREDICTIONS = {
  name: f() for name, f in vars(prediction).items() if inspect.isfunction(f) and not inspect.signature(f).parameters
} | {"edm": prediction.edm(0.5), "edm(1)": prediction.edm(1.0)}

TARGETS = {  # what the papers say that the network should put out
  "eps": lambda x0, eps, a, s: eps,
  "x0": lambda x0, eps, a, s: x0,
  "v": lambda x0, eps, a, s: (a * eps - s * x0) / np.sqrt(a**2 + s**2),
  "score": lambda x0, eps, a, s: -eps / s,
  "edm": lambda x0, eps, a, s: edm_target(x0, eps, s / a),
}


def edm_target(x0, eps, sigma, sigma_data=0.5):
  """Table 1 and equation 8 of arXiv:2206.00364."""
  c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
  c_out = sigma * sigma_data / np.sqrt(sigma_data**2 + sigma**2)
  return (x0 - c_skip * (x0 + sigma * eps)) / c_out


def example(path):
  x0, eps = jax.random.normal(jax.random.key(0), (2, 6, 3))
  t = path.t_min + jnp.linspace(0.05, 0.9, 6) * (path.t_max - path.t_min)
  a, s = expand(path.alpha(t), x0), expand(path.sigma(t), x0)
  return x0, eps, t, a, s, a * x0 + s * eps


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", TARGETS)
def test_definition(name, path):
  path = PATHS[path]
  x0, eps, t, a, s, xt = example(path)
  around = PREDICTIONS[name](path, t)
  np.testing.assert_allclose(around.from_x0(x0, xt), TARGETS[name](x0, eps, a, s), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("path", PATHS)
def test_velocity_is_the_slope_of_the_path(path):
  """By a central difference in float64 of alpha x0 + sigma eps; on the rectified path it is eps - x0."""
  rectified = path == "rectified"
  with jax.enable_x64(True):
    path = PATHS[path]
    x0, eps, t, _, _, xt = example(path)
    at = lambda t: expand(path.alpha(t), x0) * x0 + expand(path.sigma(t), x0) * eps
    h = 1e-6 * t
    out = prediction.velocity()(path, t).from_x0(x0, xt)
    np.testing.assert_allclose(out, (at(t + h) - at(t - h)) / expand(2 * h, x0), rtol=1e-5, atol=1e-5)
    if rectified:
      np.testing.assert_allclose(out, eps - x0, rtol=1e-9)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", PREDICTIONS)
def test_round_trip(name, path):
  """There and back is the identity: a denoiser is the same through any prediction."""
  path = PATHS[path]
  x0, _, t, _, _, xt = example(path)
  around = PREDICTIONS[name](path, t)
  np.testing.assert_allclose(around.to_x0(around.from_x0(x0, xt), xt), x0, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_inputs_have_unit_variance_and_one_time(name):
  """For data of the declared scale, on every path; and equal noise is announced equally on every path."""
  sigma_data = 0.5 if name == "edm" else 1.0
  for path in PATHS.values():
    t = path.t_min + jnp.linspace(0.0, 1.0, 5) * (path.t_max - path.t_min)
    a, s = path.alpha(t), path.sigma(t)
    around = PREDICTIONS[name](path, t)
    np.testing.assert_allclose(around.scale**2 * ((a * sigma_data) ** 2 + s**2), 1.0, rtol=1e-5)
    np.testing.assert_allclose(around.time, np.log(s / a) / 4, rtol=1e-4, atol=1e-5)


def test_edm_with_unit_data_is_minus_v():
  x0, _, t, _, _, xt = example(PATHS["cosine"])
  out = [PREDICTIONS[n](PATHS["cosine"], t).from_x0(x0, xt) for n in ("edm(1)", "v")]
  np.testing.assert_allclose(out[0], -out[1], rtol=1e-4, atol=1e-4)
