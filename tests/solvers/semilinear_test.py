"""DDPM's posterior against Bayes' rule on a grid; DDIM against DDPM; the sampler of EDM against its own equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.processes import gaussian
from gen_jax.solvers import base, edm, grids, ode, semilinear

PATHS = (gaussian.linear(), gaussian.cosine(), gaussian.rectified())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("solver", (semilinear.ancestral, semilinear.ddim(eta=1.0)))
def test_a_stochastic_step_draws_from_the_posterior(solver, path):
  """q(x_s | x_t, x0) is proportional to q(x_s | x0) q(x_t | x_s): multiplied out on a grid."""
  t, s, x0, xt, num = 0.7, 0.4, 0.3, -0.8, 100_000
  (a_t, a_s), (s_t, s_s) = ([float(f(jnp.asarray(u))) for u in (t, s)] for f in (path.alpha, path.sigma))
  grid = np.linspace(-6, 6, 20_001)
  rest = s_t**2 - (a_t / a_s) ** 2 * s_s**2
  density = np.exp(-((grid - a_s * x0) ** 2) / (2 * s_s**2) - (xt - a_t / a_s * grid) ** 2 / (2 * rest))
  density /= density.sum()
  mean = (density * grid).sum()
  std = np.sqrt((density * (grid - mean) ** 2).sum())

  problem = path.problem(lambda t, x: jnp.full_like(x, x0))
  draws, _ = solver.step(problem, jax.random.key(0), jnp.full((num,), xt), jnp.array(t), jnp.array(s), ())
  assert abs(float(draws.mean()) - mean) < 4 * std / np.sqrt(num)
  assert abs(float(draws.std()) / std - 1) < 4 / np.sqrt(2 * num)


@pytest.mark.parametrize("path", PATHS)
def test_ddim_with_eta_one_is_ancestral(path):
  """The same noise gives the same samples, though the two are written down differently."""
  problem = path.problem(lambda t, x: jnp.tanh(x))
  x, ts = jax.random.normal(jax.random.key(0), (64, 2)), grids.linear()(path, 20)
  run = lambda solver: base.integrate(solver, problem, jax.random.key(1), x, ts)
  np.testing.assert_allclose(run(semilinear.ddim(eta=1.0)), run(semilinear.ancestral), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", PATHS)
def test_a_constant_denoiser_is_solved_exactly(path):
  """With x0 known the flow is linear: a semilinear solver needs one step."""
  with jax.enable_x64(True):  # Heun's one step from far away cancels large numbers
    x0, eps = jnp.array([[0.5, -1.0]]), jnp.array([[0.2, 1.5]])
    t, s = jnp.array(0.9), jnp.array(0.1)
    at = lambda u: path.alpha(u) * x0 + path.sigma(u) * eps
    problem = path.problem(lambda t, x: x0)
    for solver in (semilinear.ddim(), semilinear.dpmpp_2m, edm.heun):
      x = base.integrate(solver, problem, jax.random.key(0), at(t), jnp.stack([t, s]))
      np.testing.assert_allclose(x, at(s), rtol=1e-9)


def test_edm_heun_is_heun_in_sigma():
  """On EDM's own path the method is Heun's on the probability flow, and the path's timing does not matter."""
  path, denoise = gaussian.edm(), lambda t, x: jnp.tanh(x)
  x = 80.0 * jax.random.normal(jax.random.key(0), (64, 2))
  ts = grids.rho()(path, 18)
  run = lambda solver, path, x, ts: base.integrate(solver, path.problem(denoise), jax.random.key(1), x, ts)
  mine = run(edm.heun, path, x, ts)
  np.testing.assert_allclose(mine, run(ode.heun, path, x, ts), rtol=1e-3, atol=1e-3)
  late = gaussian.Gaussian(path.alpha, lambda t: t**3, 0.1, 5.0)
  np.testing.assert_allclose(mine, run(edm.heun, late, x, jnp.cbrt(ts)), rtol=1e-3, atol=1e-3)
