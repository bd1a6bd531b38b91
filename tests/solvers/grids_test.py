"""Grids against their formulas, and the inverse of log(alpha / sigma)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.processes import bounds, gaussian
from gen_jax.solvers import grids
from gen_jax.solvers.base import half_log_snr

PATHS = {f.__name__: f() for f in (gaussian.linear, gaussian.cosine, gaussian.edm, gaussian.rectified)}


def test_rho_is_that_of_edm():
  """Equation 5 of arXiv:2206.00364 with its defaults, in numpy."""
  i, num = np.arange(18), 18
  sigma = (80 ** (1 / 7) + i / (num - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
  np.testing.assert_allclose(grids.rho()(gaussian.edm(), 17), sigma, rtol=1e-4)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("power", [2.0, -10.0])
def test_any_power_of_the_noise_level_can_be_even(path, power):
  path = PATHS[path]
  gaps = np.diff(np.exp(-np.asarray(half_log_snr(path, grids.rho(power)(path, 20))) / power))
  np.testing.assert_allclose(gaps, gaps.mean(), rtol=5e-3)


def test_powers_shorten_the_steps_at_little_noise():
  path = PATHS["edm"]
  last = [float(g(path, 20)[-2]) for g in (grids.rho(2.0), grids.rho(), grids.log_snr(), grids.rho(-10.0))]
  assert last == sorted(last, reverse=True)
  with pytest.raises(InputError, match="power = 0"):
    grids.rho(0.0)


@pytest.mark.parametrize("path", PATHS)
def test_log_snr_is_even(path):
  path = PATHS[path]
  gaps = np.diff(np.asarray(half_log_snr(path, grids.log_snr()(path, 20))))
  np.testing.assert_allclose(gaps, gaps.mean(), rtol=5e-3)


def test_quadratic():
  """c i^2, shifted so that it ends at t_min."""
  path = PATHS["rectified"]
  ts = grids.quadratic()(path, 10)
  np.testing.assert_allclose(np.diff(np.sqrt(ts)), (0.001**0.5 - 0.999**0.5) / 10, rtol=1e-4)


def test_cosine_is_even_on_its_own_path():
  path = gaussian.cosine(offset=0.0, t_min=0.01, t_max=0.9)
  np.testing.assert_allclose(grids.cosine()(path, 9), np.linspace(0.9, 0.01, 10), rtol=1e-4)


def test_shifted():
  """On rectified flow it is t -> m t / (1 + (m - 1) t) of even times; a shift of 1 changes nothing."""
  path, unshift = PATHS["rectified"], lambda t: t / (3 - 2 * t)
  even = np.linspace(unshift(0.999), unshift(0.001), 11)
  np.testing.assert_allclose(grids.shifted(3.0)(path, 10), 3 * even / (1 + 2 * even), rtol=2e-4)
  np.testing.assert_allclose(grids.shifted(1.0)(path, 10), grids.linear()(path, 10), rtol=2e-4)


def test_given_times():
  path = PATHS["rectified"]
  np.testing.assert_allclose(grids.times((0.9, 0.5, 0.01))(path, 2), [0.9, 0.5, 0.01], rtol=1e-6)
  for wrong, said in (((0.5, 0.5, 0.1), "repeats"), ((0.5, 0.1, 0.2), "out of order"), ((0.1, 0.5), "should fall")):
    with pytest.raises(InputError, match=said):
      grids.times(wrong)
  with pytest.raises(InputError, match="outside the path's times"):
    grids.times((1.0, 0.5))(path, 1)
  with pytest.raises(InputError, match="set steps=2"):
    grids.times((0.9, 0.5, 0.01))(path, 31)


def test_where_nothing_denoises_a_grid_has_to_reach_the_data():
  path = PATHS["rectified"]
  np.testing.assert_array_equal(grids.span(grids.linear(), path, 4), grids.linear()(path, 4))
  with pytest.raises(InputError, match=r"it ends at t = 0\.2\d+, not at 0\.001"):
    grids.span(grids.trailing(), path, 4)
  denoise, x = lambda t, x: x, jnp.zeros((2, 3))
  for bound in (
    bounds.Discrete(steps=4, grid=grids.trailing()),
    bounds.Dequantized(flow=bounds.Flow(grid=grids.trailing())),
  ):
    with pytest.raises(InputError, match="nothing denoises"):
      bound(jax.random.key(0), path, denoise, x, 0, 1)


def test_a_grid_has_to_start_with_the_noise_and_fall():
  """Samples are noise of t_max, and bounds leave nothing out on the way to it."""
  path = PATHS["rectified"]
  for laid in (grids.lay, grids.span):
    with pytest.raises(InputError, match=r"first time is 0\.5, samples start from noise of t = 0\.99"):
      laid(grids.times((0.5, 0.2, path.t_min)), path, 2)
    with pytest.raises(InputError, match="these rise from"):
      laid(lambda path, num: jnp.linspace(path.t_min, path.t_max, num + 1), path, 2)


@pytest.mark.parametrize("path", PATHS)
def test_time_at_inverts(path):
  path = PATHS[path]
  t = jnp.geomspace(path.t_min, path.t_max, 50)
  np.testing.assert_allclose(grids.time_at(path, half_log_snr(path, t)), t, rtol=2e-4)
  np.testing.assert_allclose(grids.time_at(path, jnp.array([99.0, -99.0])), [path.t_min, path.t_max], rtol=1e-6)


def test_time_at_of_a_path_that_begins_with_the_data():
  path, t = gaussian.rectified(t_min=0.0), jnp.array([0.01, 0.5, 0.9])
  np.testing.assert_allclose(grids.time_at(path, half_log_snr(path, t)), t, rtol=2e-4)


def test_grids_compile():
  path = PATHS["cosine"]
  for grid in (grids.rho(), grids.shifted(), grids.cosine(), grids.times(tuple(np.linspace(0.9, 0.1, 9)))):
    np.testing.assert_allclose(jax.jit(lambda grid=grid: grid(path, 8))(), grid(path, 8), rtol=1e-5)


def test_times_that_a_path_does_not_have_are_found_while_a_program_is_traced():
  """At t = 1 rectified flow is all noise, and networks have no name for it; a learned path is the program's alone."""
  path = gaussian.rectified(t_max=1.0)
  sampler = lambda grid, path=path, lay=grids.lay: jax.jit(lambda: lay(grid, path, 8))
  for refused in (lambda: sampler(grids.log_snr()), lambda: sampler(grids.linear())):
    with pytest.raises(InputError, match=r"all data or all noise, .*: move its t_min or t_max"):
      refused().trace()
  with pytest.raises(InputError, match="repeats"):
    sampler(lambda path, num: jnp.zeros(num + 1), gaussian.edm()).trace()
  np.testing.assert_array_equal(sampler(grids.linear(), lay=grids.span)(), grids.linear()(path, 8))
  learned = lambda t_max: grids.lay(grids.linear(), gaussian.Gaussian(jnp.cos, lambda t: t_max * t, 0.1, 1.0), 4)
  np.testing.assert_allclose(jax.jit(learned)(2.0), np.linspace(1.0, 0.1, 5), rtol=1e-6)
  with pytest.raises(InputError, match=r"shift = 0\.0 should be positive"):
    grids.shifted(0.0)
