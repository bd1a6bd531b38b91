"""From data to noise and back, and between two data, on a mixture whose denoiser is exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.processes import gaussian
from gen_jax.solvers import edm, grids, inversion, semilinear
from gen_jax.solvers.base import integrate

PATH = gaussian.cosine(t_min=0.01)
TS = grids.log_snr()(PATH, 256)


def denoise(t, x):
  """Two Gaussians at (-0.6, 0.3) and (0.6, -0.3), of standard deviation 0.2."""
  centre = jnp.array([0.6, -0.3])
  a, s = PATH.alpha(t), PATH.sigma(t)
  var = (0.2 * a) ** 2 + s**2
  mean = jnp.tanh(a * x @ centre / var)[..., None] * centre
  return mean + a * 0.2**2 / var * (x - a * mean)


PROBLEM = PATH.problem(denoise)


def data(num):
  side = jnp.where(jnp.arange(num) % 2, 1.0, -1.0)[:, None]
  x0 = side * jnp.array([0.6, -0.3]) + 0.2 * jax.random.normal(jax.random.key(0), (num, 2))
  return PATH.alpha(TS[-1]) * x0 + PATH.sigma(TS[-1]) * jax.random.normal(jax.random.key(1), (num, 2))


def test_there_and_back():
  """To noise that has the law of noise, and back to 1e-3."""
  x = data(4000)
  noise = jax.jit(lambda x: inversion.invert(edm.heun, PROBLEM, x, TS))(x)
  again = jax.jit(lambda x: integrate(edm.heun, PROBLEM, jax.random.key(0), x, TS))(noise)
  assert float(jnp.max(jnp.abs(again - x))) < 1e-3
  np.testing.assert_allclose(np.cov(noise.T), np.eye(2), atol=0.1)
  assert float(jnp.max(jnp.abs(noise - x))) > 0.5


def test_interpolation():
  """It begins and ends at the data; what lies between comes from noise on the arc between theirs."""
  x, y = data(2)
  between = lambda x, y: inversion.interpolate(edm.heun, PROBLEM, x, y, jnp.linspace(0.0, 1.0, 9), TS)
  way = jax.jit(between)(x, y)
  np.testing.assert_allclose(way[0], x, atol=1e-3)
  np.testing.assert_allclose(way[-1], y, atol=1e-3)
  noise = np.asarray(jax.jit(lambda x: inversion.invert(edm.heun, PROBLEM, x, TS))(way))
  turns = np.diff(np.unwrap(np.arctan2(noise[:, 1], noise[:, 0])))
  whole = np.arccos(noise[0] @ noise[-1] / np.linalg.norm(noise[0]) / np.linalg.norm(noise[-1]))
  np.testing.assert_allclose(np.abs(turns).sum(), whole, rtol=1e-2)
  assert np.all(np.sign(turns) == np.sign(turns[0]))


def test_slerp():
  x, y = jnp.array([1.0, 0.0]), jnp.array([0.0, 2.0])
  np.testing.assert_allclose(inversion.slerp(x, y, 0.5), np.sqrt(0.5) * np.array([1.0, 2.0]), rtol=1e-6)
  np.testing.assert_allclose(inversion.slerp(x, x, 0.3), x, rtol=1e-6)


def test_a_stochastic_solver_cannot_invert():
  with pytest.raises(InputError, match="deterministic"):
    inversion.invert(semilinear.ancestral, PROBLEM, data(2), TS)


def test_times_of_sampling_fall():
  with pytest.raises(InputError, match="times should fall"):
    inversion.invert(edm.heun, PROBLEM, data(2), TS[::-1])


def test_there_is_no_way_with_one_time():
  with pytest.raises(InputError, match="times = 1 should be at least two"):
    inversion.invert(edm.heun, PROBLEM, data(2), TS[:1])
