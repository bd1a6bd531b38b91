"""Editing of Gaussian data, where what should come out is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.processes import editing, gaussian
from gen_jax.solvers import sde, semilinear
from gen_jax.solvers.base import integrate
from gen_jax.solvers.grids import log_snr

NUM = 10_000
PATH = gaussian.cosine()
COV = np.array([[1.0, 0.8, 0.3], [0.8, 1.2, 0.0], [0.3, 0.0, 0.7]], np.float32)


def denoiser(cov):
  """E[x0 | xt] of N(0, cov)."""

  var, axes = np.linalg.eigh(cov)

  def denoise(t, xt):
    a, s = PATH.alpha(t), PATH.sigma(t)
    return (xt @ axes * (a * var / (a**2 * var + s**2))) @ axes.T

  return denoise


def close(x, mean, cov, tolerance):
  np.testing.assert_allclose(x.mean(0), mean, atol=tolerance)
  np.testing.assert_allclose(np.cov(x.T), cov, atol=tolerance)


def test_sdedit_is_between_guide_and_data():
  """From N(0, std^2), a guide x comes back as N(a x std / c, (s std / c)^2) with c^2 = a^2 std^2 + s^2."""
  std, guide, t = 0.6, 2.0, 0.5
  ts = jnp.linspace(t, PATH.t_min, 200)
  denoise = denoiser(std**2 * np.eye(1, dtype=np.float32))
  edit = jax.jit(lambda key: editing.sdedit(key, denoise, PATH, semilinear.dpmpp_2m, jnp.full((NUM, 1), guide), ts))
  x = edit(jax.random.key(0))
  a, s = float(PATH.alpha(jnp.array(t))), float(PATH.sigma(jnp.array(t)))
  c = (a**2 * std**2 + s**2) ** 0.5
  assert abs(float(x.mean()) - a * guide * std / c) < 0.01
  assert abs(float(x.std()) / (s * std / c) - 1) < 0.02


def test_repaint_samples_the_conditional():
  """p(x1, x2 | x0): what is known stays, and resampling brings the rest to it, which pasting alone does not."""
  value, known, num = 1.5, np.array([True, False, False]), 4_000
  x = jnp.full((num, 3), value)
  slope = COV[1:, 0] / COV[0, 0]
  cov = COV[1:, 1:] - np.outer(slope, COV[0, 1:])

  def paint(resamples):
    ts = log_snr()(PATH, 60)
    run = lambda key: editing.repaint(
      key, denoiser(COV), PATH, sde.euler_maruyama, x, known, ts, resamples=resamples, jump=5
    )
    return np.asarray(jax.jit(run)(jax.random.key(1)))

  often, once = paint(20), paint(1)
  np.testing.assert_array_equal(often[:, 0], value)
  close(often[:, 1:], slope * value, cov, 0.05)
  assert np.abs(once[:, 1:].mean(0) - slope * value).max() > 0.2


def test_repaint_needs_a_solver_without_memory():
  with pytest.raises(InputError, match="one-step solver"):
    editing.repaint(
      jax.random.key(0), denoiser(COV), PATH, semilinear.dpmpp_2m, jnp.zeros((2, 3)), True, log_snr()(PATH, 4)
    )


@pytest.mark.parametrize(
  "ts, fields, message",
  (
    ([0.1, 0.5, 0.9], {}, "times should fall"),
    ([0.9, 0.5, 0.5, 0.1], {}, "repeats"),
    ([1.9, 0.5, 0.1], {}, "outside the path's times"),
    ([0.9, 0.1], dict(jump=0), "jump = 0 should be at least 1"),
    ([0.9, 0.1], dict(resamples=0), "resamples = 0 should be at least 1"),
  ),
)
def test_walks_that_lead_nowhere(ts, fields, message):
  x, ts = jnp.zeros((2, 3)), jnp.array(ts)
  with pytest.raises(InputError, match=message):
    editing.repaint(jax.random.key(0), denoiser(COV), PATH, semilinear.ddim(), x, True, ts, **fields)
  if not fields:
    with pytest.raises(InputError, match=message):
      editing.sdedit(jax.random.key(0), denoiser(COV), PATH, semilinear.ddim(), x, ts)


def test_renoised_is_as_if_noised_at_once():
  t, s = jnp.array(0.5), jnp.array(0.8)
  xt, _ = PATH.perturb(jax.random.key(0), jnp.full((100_000,), 2.0), t)
  xs = PATH.renoise(jax.random.key(1), xt, t, s)
  assert abs(float(xs.mean() - 2 * PATH.alpha(s))) < 0.02 and abs(float(xs.std() / PATH.sigma(s)) - 1) < 0.01


def test_walk():
  assert editing.walk(4, 2, 2) == [0, 1, 2, 1, 0, 1, 2, 3, 4, 3, 2, 3, 4]
  assert editing.walk(3, 2, 1) == [0, 1, 2, 3]


@pytest.mark.parametrize("noise", (0.0, 0.4))
def test_posterior_of_a_linear_measurement(noise):
  """p(x | A x + noise = y) for x ~ N(0, std^2 1) and an A whose rows are neither orthogonal nor of one length."""
  std, y = 0.7, np.array([0.8, -0.5], np.float32)
  a = np.array([[1.0, 0.5, 0.0], [0.0, 0.3, -0.6]], np.float32)
  gain = std**2 * a.T @ np.linalg.inv(std**2 * a @ a.T + noise**2 * np.eye(2))
  prior = denoiser(std**2 * np.eye(3, dtype=np.float32))
  denoise = editing.posterior(prior, PATH, lambda x: x @ a.T, jnp.tile(y, (NUM, 1)), noise=noise, std=std)
  ts = log_snr()(PATH, 60)

  def run(key):
    key_prior, key_path = jax.random.split(key)
    x = integrate(semilinear.dpmpp_2m, PATH.problem(denoise), key_path, PATH.prior(key_prior, (NUM, 3)), ts)
    return denoise(ts[-1], x)

  x = np.asarray(jax.jit(run)(jax.random.key(2)))
  close(x, gain @ y, std**2 * (np.eye(3) - gain @ a), 0.03)
  if not noise:
    np.testing.assert_allclose(x @ a.T, np.tile(y, (NUM, 1)), atol=0.01)
