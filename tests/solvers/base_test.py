"""Problems and the loop, against solutions that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.processes import gaussian
from gen_jax.solvers import adams, adaptive, base, brownian, deis, edm, grids, langevin, ode, sde, semilinear


def test_ode_forwards_in_time():
  """dx/dt = -2 x."""
  x = base.integrate(ode.rk4, base.ODE(lambda t, x: -2 * x), unused(), jnp.ones((1, 1)), jnp.linspace(0.0, 1.0, 33))
  np.testing.assert_allclose(x, np.exp(-2.0), rtol=1e-5)


def test_sde_forwards_in_time():
  """Langevin dynamics of N(1, 0.25), dx = -4 (x - 1) / 2 dt + dw, forgets where it began."""
  langevin = base.SDE(lambda t, x: -2.0 * (x - 1.0), jnp.ones_like)
  x = base.integrate(
    sde.euler_maruyama, langevin, jax.random.key(0), jnp.zeros((40_000, 1)), jnp.linspace(0.0, 4.0, 401)
  )
  assert abs(float(x.mean()) - 1.0) < 5 * 0.5 / 200
  assert abs(float(x.std()) - 0.5) < 5 * 0.5 / 200 / np.sqrt(2) + 0.005


def test_steps_draw_their_own_noise():
  """Two steps of unit noise add to variance 2, not 4."""
  noise = base.SDE(lambda t, x: 0.0 * x, jnp.ones_like)
  x = base.integrate(sde.euler_maruyama, noise, jax.random.key(0), jnp.zeros((40_000, 1)), jnp.array([0.0, 1.0, 2.0]))
  assert abs(float(x.var()) - 2.0) < 0.08


@pytest.mark.parametrize("path", (gaussian.linear(), gaussian.edm(), gaussian.rectified()))
def test_diffusion_is_that_of_the_forward_process(path):
  """g^2 dt is what must be added to a slightly shorter path: sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2."""
  with jax.enable_x64(True):
    t = jnp.array([0.1, 0.4, 0.8])
    s = t - 1e-6
    added = path.sigma(t) ** 2 - (path.alpha(t) / path.alpha(s)) ** 2 * path.sigma(s) ** 2
    g = path.problem(lambda t, x: x).sde().diffusion(t)
    np.testing.assert_allclose(g**2, added / 1e-6, rtol=1e-4)


def test_wrong_problem():
  for solver, problem in (
    (semilinear.ddim(), base.ODE(None)),
    (edm.heun, base.SDE(None, None)),
    (ode.heun, base.SDE(None, None)),
  ):
    with pytest.raises(InputError, match="choose another solver"):
      base.integrate(solver, problem, unused(), jnp.zeros(1), jnp.linspace(1.0, 0.0, 3))


@pytest.mark.parametrize("ts", ([1.0, 0.5, 0.5, 0.0], [0.0, 0.6, 0.4, 1.0], [1.0, float("nan"), 0.0], [[1.0]], []))
def test_times_that_no_solver_can_step_through(ts):
  with pytest.raises(InputError, match="times"):
    base.integrate(ode.euler, base.ODE(lambda t, x: x), unused(), jnp.ones((1, 1)), jnp.array(ts))


@pytest.mark.parametrize("ts", ([1.3, 0.5, 0.1], [0.9, 0.5, -0.1], [0.5, 2.0]))
def test_times_that_a_path_does_not_have(ts):
  problem = gaussian.cosine().problem(lambda t, x: x)
  with pytest.raises(InputError, match="outside the path's times"):
    base.integrate(semilinear.ddim(), problem, unused(), jnp.ones((1, 1)), jnp.array(ts))


def test_times_and_states_of_any_type():
  """Plain numbers, whole ones too; a state of low precision is kept in that of the times."""
  decay = base.ODE(lambda t, x: -x)
  run = lambda x, ts: base.integrate(ode.heun, decay, unused(), x, ts)
  x = jnp.ones((2, 1))
  np.testing.assert_array_equal(run(x, (0, 1, 2)), run(x, jnp.array([0.0, 1.0, 2.0])))
  np.testing.assert_array_equal(run(x.astype(jnp.bfloat16), (0, 1, 2)), run(x, (0, 1, 2)))


def test_trajectory():
  """It has every state of `integrate`, the first and the last included."""
  problem, x, ts = base.ODE(lambda t, x: -x), jnp.ones((2, 3)), jnp.array([0.0, 0.5, 0.7, 1.0])
  states = base.trajectory(ode.euler, problem, unused(), x, ts)
  np.testing.assert_allclose(states[:, 0, 0], [1.0, 0.5, 0.4, 0.28], rtol=1e-6)
  assert states.shape == (4, 2, 3)
  np.testing.assert_array_equal(base.integrate(ode.euler, problem, unused(), x, ts[:1]), x)  # no steps
  np.testing.assert_array_equal(states[-1], base.integrate(ode.euler, problem, unused(), x, ts))


@pytest.mark.parametrize("make", (adaptive.tsit5, adaptive.dopri5))
def test_adaptive(make):
  """dx/dt = -2 x, forwards, backwards, and with times per example."""
  problem, x = base.ODE(lambda t, x: -2 * x), jnp.array([[1.0], [3.0]])
  run = lambda x, ts: base.integrate(make(1e-6, 1e-6), problem, unused(), x, ts)
  np.testing.assert_allclose(run(x, jnp.array([0.0, 1.0])), x * np.exp(-2.0), rtol=2e-5)
  np.testing.assert_allclose(run(x, jnp.array([1.0, 0.6, 0.0])), x * np.exp(2.0), rtol=2e-5)
  t, s = jnp.array([0.0, 0.5]), jnp.array([1.0, 0.7])
  np.testing.assert_allclose(
    make().step(problem, unused(), x, t, s, ())[0], x * np.exp(-2 * (s - t))[:, None], rtol=1e-4
  )


def test_adaptive_differentiates():
  run = lambda x: jnp.sum(
    base.integrate(adaptive.tsit5(), base.ODE(lambda t, x: -2 * x), unused(), x, jnp.array([0.0, 1.0]))
  )
  np.testing.assert_allclose(jax.grad(run)(jnp.ones((2, 1))), np.exp(-2.0), rtol=1e-4)


def test_adaptive_runs_out_of_steps():
  """Outside compiled code an error; inside it NaN, which `check_finite` turns into one."""
  stiff, ts = base.ODE(lambda t, x: -2000.0 * x), jnp.array([0.0, 1.0])
  run = lambda x: base.integrate(adaptive.tsit5(max_steps=8), stiff, unused(), x, ts)
  with pytest.raises(InputError, match="max_steps"):
    run(jnp.ones((2, 1)))
  with pytest.raises(InputError, match="max_steps"):
    base.trajectory(adaptive.tsit5(max_steps=8), stiff, unused(), jnp.ones((2, 1)), ts)
  x = jax.jit(run)(jnp.ones((2, 1)))
  with pytest.raises(InputError, match="max_steps"):
    base.check_finite(x)
  for wrong in (dict(rtol=0.0), dict(atol=-1.0), dict(max_steps=0)):
    with pytest.raises(InputError, match="should be positive"):
      adaptive.dopri5(**wrong)


def test_one_trace_of_the_denoiser_for_any_number_of_steps():
  calls = []
  path = gaussian.cosine()
  problem = path.problem(lambda t, x: (calls.append(1), x)[1])
  base.integrate(semilinear.dpmpp_2m, problem, unused(), jnp.zeros((1, 2)), grids.linear()(path, 100))
  assert len(calls) == 1


def unused():
  """A key for solvers that do not read it."""
  return jax.random.key(0)


@pytest.mark.parametrize("solver", (sde.euler_maruyama, sde.heun))
def test_weak_order(solver):
  """On dx = -2 (x - 1) dt + dw a step is x <- a x + b + c z: the error of mean and variance falls as it should."""
  wrong = []
  for num in (16, 32):
    mean, var = 3.0, 0.0
    step = lambda x, z, h=1 / num: float(
      solver.step(
        base.SDE(lambda t, x: -2.0 * (x - 1.0), jnp.ones_like, lambda key, x, t, s: jnp.full_like(x, z)),
        None,
        jnp.array([x]),
        jnp.array(0.0),
        jnp.array(h),
        (),
      )[0][0]
    )
    b = step(0.0, 0.0)
    a, c = step(1.0, 0.0) - b, step(0.0, 1.0) - b
    for _ in range(num):
      mean, var = a * mean + b, a**2 * var + c**2
    wrong.append((mean - (1 + 2 * np.exp(-2)), var - (1 - np.exp(-4)) / 4))
  orders = np.log2(np.abs(np.array(wrong[0]) / np.array(wrong[1])))
  np.testing.assert_allclose(orders, solver.order, atol=0.2)


@pytest.mark.parametrize(
  "make, message",
  [
    (lambda: deis.deis(0), "order = 0 should be at least 1"),
    (lambda: deis.deis(3, "sigma"), "variable = sigma should be one of t, rho, log_rho"),
    (lambda: deis.ipndm(7), "order = 7 should be from 1 to 4"),
    (lambda: adams.unipc(0), "order = 0 should be at least 1"),
    (lambda: adams.sa_solver(predictor=0), "predictor = 0 should be at least 1"),
    (lambda: adams.unipc(b="foo"), "b = foo should be h or expm1"),
    (lambda: adams.sa_solver(tau=-1.0), "tau = -1.0 should be at least 0"),
    (lambda: adams.sa_solver(b="expm1"), "b = expm1 should be h or None"),
    (lambda: adams.sa_solver(s_min=2.0, s_max=1.0), "s_min = 2.0 should be below s_max = 1.0"),
    (lambda: brownian.tree(unused(), 0.0, 1.0, depth=31), "depth = 31 should be from 1 to 30"),
    *(
      (lambda make=make: make("heun"), "kind = heun should be midpoint or taylor")
      for make in (semilinear.dpm_2s, semilinear.dpm_3s, semilinear.dpmpp_2s)
    ),
    (lambda: semilinear.single_step(2, "v"), "of = v should be x0 or eps"),
    (lambda: semilinear.ddim(-1.0), "eta = -1.0 should be in"),
    (lambda: edm.churn(gamma=-1.0), "gamma = -1.0 should be at least 0"),
    (lambda: langevin.annealed(step_size=-1.0), "step_size = -1.0 should be positive"),
    (lambda: langevin.annealed(rounds=0), "rounds = 0 should be at least 1"),
    (
      lambda: langevin.predictor_corrector("adaptive.tsit5"),
      "predictor = adaptive.tsit5 should be a solver that does not",
    ),
    (lambda: adaptive.tsit5(rtol=0.0), "rtol = 0.0 should be positive"),
  ],
)
def test_no_solver_is_made_of_other_arguments(make, message):
  with pytest.raises(InputError, match=message):
    make()


def test_noise_is_added_on_the_way_to_the_data_alone():
  """Upwards the share of fresh noise is negative, of which some solvers make NaN and others another distribution."""
  path, up = gaussian.cosine(), jnp.linspace(0.1, 0.9, 9)
  problem = path.problem(lambda t, x: 0.5 * x)
  for solver in (semilinear.ancestral, sde.euler_maruyama, langevin.annealed(rounds=1)):
    with pytest.raises(InputError, match="times should fall, from noise to data, and these rise"):
      base.integrate(solver, problem, unused(), jnp.zeros((1, 2)), up)
  forward = base.SDE(lambda t, x: -x, jnp.ones_like)  # whose times can be of anything
  assert jnp.isfinite(base.integrate(sde.euler_maruyama, forward, unused(), jnp.zeros((1, 2)), up)).all()


def test_a_corrector_counts_the_start_of_its_predictor():
  solver = langevin.predictor_corrector("deis.pndm", rounds=2)
  assert solver.calls(10) == deis.pndm.calls(10) + 20
