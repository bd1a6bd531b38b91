"""Densities by the probability flow, of data whose density is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.data.synthetic import Ring
from gen_jax.errors import InputError
from gen_jax.ops import gaussians
from gen_jax.ops.divergence import Exact, Hutchinson
from gen_jax.ops.shapes import expand
from gen_jax.processes import gaussian
from gen_jax.solvers import grids, likelihood, ode, semilinear

RING = Ring(radius=0.65, std=0.2)
ENTROPY = 1.183  # nats; the integral in `Ring.entropy` says the same
STD, MEAN = np.array([0.3, 1.2]), np.array([0.5, -1.0])  # of a Gaussian


def centres():
  """Those of the ring's modes, [modes, 2]."""
  angles = 2 * np.pi * np.arange(RING.modes) / RING.modes
  return jnp.array(RING.radius * np.stack([np.cos(angles), np.sin(angles)], -1))


def ring_denoiser(path):
  """E[x0 | xt] on the ring, by Bayes' rule."""

  def denoise(t, x):
    a, s = path.alpha(t), path.sigma(t)
    var = (a * RING.std) ** 2 + s**2
    offset = x[:, None] - a * centres()
    weight = jax.nn.softmax(-0.5 * jnp.square(offset).sum(-1) / var, axis=-1)[..., None]
    return (weight * (centres() + a * RING.std**2 / var * offset)).sum(1)

  return denoise


def gaussian_denoiser(path):
  """E[x0 | xt] for x0 ~ N(MEAN, diag STD^2)."""

  def denoise(t, x):
    a, s = expand(path.alpha(t), x), expand(path.sigma(t), x)
    return MEAN + a * STD**2 / ((a * STD) ** 2 + s**2) * (x - a * MEAN)

  return denoise


def density(path, denoise, x, steps, *, solver=ode.heun, divergence=None):
  ts = grids.log_snr()(path, steps)[::-1]
  prior = lambda z: gaussians.log_prob(z, 0.0, jnp.log(path.sigma(ts[-1])), axes=z.ndim - 1)
  return likelihood.log_prob(solver, path.problem(denoise), jax.random.key(1), x, ts, prior, divergence or Exact())


def test_ring_meets_its_entropy():
  path, x = gaussian.linear(), jnp.array(RING.split("test")[np.arange(4000)]["x"])
  log_p = jax.jit(lambda x: density(path, ring_denoiser(path), x, 64).value)(x)
  assert RING.entropy() == pytest.approx(ENTROPY, abs=5e-4)
  assert float(-log_p.mean()) == pytest.approx(ENTROPY, abs=0.02)
  np.testing.assert_allclose(log_p.mean(), RING.log_prob(x).mean(), atol=2e-3)  # free of the noise of 4,000 rows
  assert float(jnp.abs(log_p - RING.log_prob(x)).max()) < 0.05


def gaussian_marginal(path, t, x):
  """log q_t(x) for x0 ~ N(MEAN, diag STD^2)."""
  scale = jnp.sqrt((path.alpha(t) * STD) ** 2 + path.sigma(t) ** 2)
  return gaussians.log_prob(x, path.alpha(t) * MEAN, jnp.log(scale), axes=1)


def ring_marginal(path, t, x):
  """log q_t(x) on the ring: its modes drawn in by alpha, and widened by the noise."""
  log_scale = jnp.log((path.alpha(t) * RING.std) ** 2 + path.sigma(t) ** 2) / 2
  each = gaussians.log_prob(x[:, None], path.alpha(t) * centres(), log_scale, axes=1)
  return jax.nn.logsumexp(each, axis=1) - jnp.log(RING.modes)


@pytest.mark.parametrize("denoiser, marginal", [(gaussian_denoiser, gaussian_marginal), (ring_denoiser, ring_marginal)])
def test_order(denoiser, marginal):
  """Twice the steps, a quarter of Heun's error: where the density is known at both ends of the path."""
  with jax.enable_x64(True):
    path = gaussian.cosine(t_min=0.05, t_max=0.9)
    x = jnp.array(np.random.default_rng(0).standard_normal((16, 2)) * STD + MEAN)

    @functools.partial(jax.jit, static_argnums=0)
    def error(steps):
      ts = grids.log_snr()(path, steps)[::-1]
      problem, prior = path.problem(denoiser(path)), functools.partial(marginal, path, ts[-1])
      log_p = likelihood.log_prob(ode.heun, problem, jax.random.key(0), x, ts, prior, Exact()).value
      return jnp.abs(log_p - marginal(path, ts[0], x)).mean()

    assert float(error(32) / error(64)) == pytest.approx(4.0, abs=0.4)


@pytest.fixture(scope="module")
def some():
  """Rows of the ring, and their exact densities with few steps."""
  path, x = gaussian.rectified(), jnp.array(RING.split("test")[np.arange(400)]["x"])
  exact = jax.jit(lambda x: density(path, ring_denoiser(path), x, 32))(x)
  assert not exact.error.any()
  return path, x, exact.value


@pytest.mark.parametrize("law", ("rademacher", "gaussian"))
def test_standard_error(law, some):
  """Estimates lie about the exact value as far as their standard error says."""
  path, x, exact = some
  divergence = Hutchinson(draws=64, law=law)
  estimate = jax.jit(lambda x: density(path, ring_denoiser(path), x, 32, divergence=divergence))(x)
  z = (estimate.value - exact) / estimate.error
  assert 0.85 < float(jnp.sqrt(jnp.mean(jnp.square(z)))) < 1.2
  assert float(jnp.abs(estimate.error).min()) > 0


def test_one_probe_has_no_error():
  path, x = gaussian.rectified(), jnp.ones((3, 2))
  assert jnp.isnan(density(path, gaussian_denoiser(path), x, 4, divergence=Hutchinson()).error).all()


def test_a_solver_that_cannot_serve():
  path = gaussian.rectified()
  with pytest.raises(InputError, match="Semilinear"):
    density(path, gaussian_denoiser(path), jnp.ones((3, 2)), 4, solver=semilinear.ddim())


def test_there_is_no_way_with_one_time():
  problem, x = gaussian.rectified().problem(lambda t, x: x), jnp.ones((3, 2))
  with pytest.raises(InputError, match="times = 1 should be at least two"):
    likelihood.log_prob(ode.heun, problem, jax.random.key(0), x, jnp.ones(1), lambda z: z.sum(-1), Exact())


def test_times_go_from_the_data_to_the_noise_and_stay_on_the_path():
  path = gaussian.rectified()
  problem, x = path.problem(lambda t, x: 0.5 * x), jnp.zeros((2, 2))
  run = lambda *ts: likelihood.log_prob(
    ode.heun, problem, jax.random.key(0), x, jnp.array(ts), lambda x: jnp.zeros(len(x)), Exact()
  )
  with pytest.raises(InputError, match=r"time 1\.7 is outside the path's times"):
    run(0.01, 0.5, 1.7)
  with pytest.raises(InputError, match="times should rise, from data to noise, and these fall"):
    run(0.9, 0.5, 0.01)
