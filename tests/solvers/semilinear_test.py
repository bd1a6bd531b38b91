"""DDPM's posterior against Bayes' rule on a grid; DDIM against DDPM; the sampler of EDM against its own equations."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from gen_jax.errors import InputError
from gen_jax.processes import gaussian
from gen_jax.solvers import adams, base, deis, edm, grids, ode, sde, semilinear

PATHS = (gaussian.linear(), gaussian.cosine(), gaussian.rectified())
SEMILINEAR = {
  "ddim": semilinear.ddim(),
  "dpm_2s": semilinear.dpm_2s(),
  "dpm_3s": semilinear.dpm_3s(),
  "dpmpp_2s": semilinear.dpmpp_2s(),
  "single_step": semilinear.single_step(2),
  "single_step of eps": semilinear.single_step(2, "eps"),
  "dpmpp_2m": semilinear.dpmpp_2m,
  "dpmpp_3m": semilinear.dpmpp_3m,
  "exponential_heun": semilinear.exponential_heun,
  "edm.heun": edm.heun,
  "deis": deis.deis(3),
  "deis in t": deis.deis(3, "t"),
  "pndm": deis.pndm,
  "unipc": adams.unipc(3),
  "sa_solver": adams.sa_solver(tau=0.0),
}


@pytest.mark.parametrize("path", PATHS)
def test_solvers_say_whether_their_noise_is_the_posterior_s(path):
  """What one unit of noise does to a step, against the variance of the product of q(x_s | x0) and q(x_t | x_s)."""
  t, s, x = jnp.float32(0.7), jnp.float32(0.4), jnp.full((1, 1), -0.8)
  (a_t, a_s), (s_t, s_s) = ([float(f(u)) for u in (t, s)] for f in (path.alpha, path.sigma))
  variance = 1 / (1 / s_s**2 + (a_t / a_s) ** 2 / (s_t**2 - (a_t / a_s) ** 2 * s_s**2))

  def stepped(solver, z):
    problem = path.problem(lambda t, xt: 0.3 * jnp.ones_like(xt))._replace(noise=lambda key, x, t, s: z)
    return solver.step(solver.of(problem), jax.random.key(0), x, t, s, solver.init(x))[0]

  for solver, expected in (
    (semilinear.ancestral, True),
    (semilinear.ddim(eta=1.0), True),
    (semilinear.ddim(eta=0.5), False),
    (semilinear.dpmpp_2m_sde, True),
    (adams.sa_solver(tau=1.0), True),
    (adams.sa_solver(tau=0.5), False),
    (sde.reverse_diffusion, False),
    (sde.euler_maruyama, False),
  ):
    std = float((stepped(solver, jnp.ones((1, 1))) - stepped(solver, jnp.zeros((1, 1))))[0, 0])
    assert solver.posterior == expected == bool(np.isclose(abs(std), np.sqrt(variance), rtol=1e-3))


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
  """With x0 known the flow is linear: a semilinear solver needs no small steps."""
  with jax.enable_x64(True):  # Heun's one step from far away cancels large numbers
    x0, eps = jnp.array([[0.5, -1.0]]), jnp.array([[0.2, 1.5]])
    t, s = jnp.array(0.9), jnp.array(0.1)
    at = lambda u: path.alpha(u) * x0 + path.sigma(u) * eps
    problem = path.problem(lambda t, x: x0)
    ts = jnp.array([0.9, 0.5, 0.1])  # two, so that multistep methods use what they remember
    for name, solver in SEMILINEAR.items():
      x = base.integrate(solver, problem, jax.random.key(0), at(t), ts)
      np.testing.assert_allclose(x, at(s), rtol=1e-9, err_msg=name)


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


def test_a_first_step_of_every_multistep_method_is_ddim():
  """They remember nothing yet: what they begin with must not be felt."""
  path, x = gaussian.cosine(), jax.random.normal(jax.random.key(0), (16, 2))
  problem, ts = path.problem(lambda t, x: jnp.tanh(x)), jnp.array([0.9, 0.6])
  run = lambda solver: base.integrate(solver, problem, jax.random.key(1), x, ts)
  for solver in (semilinear.dpmpp_2m, semilinear.dpmpp_3m_corrected, deis.deis(4), deis.ipndm(), adams.unipc(3)):
    np.testing.assert_allclose(run(solver), run(semilinear.ddim()), rtol=1e-5, atol=1e-6)


def test_unipc_of_two_values_predicts_as_dpmpp_2m():
  """With B(h) = e^h - 1 and no correction yet, its second step is that of DPM-Solver++(2M) from the corrected state."""
  path, x = gaussian.cosine(), jax.random.normal(jax.random.key(0), (16, 2))
  p, (t, m, s) = path.problem(lambda t, x: jnp.tanh(x)), jnp.array([0.9, 0.6, 0.4])
  unused, solver = jax.random.key(1), adams.unipc(2)
  x_m, carry = solver.step(p, unused, x, t, m, solver.init(x))
  x_s, carry_s = solver.step(p, unused, x_m, m, s, carry)
  corrected, estimate = carry_s.x, p.denoise(m, x_m)
  remembered = semilinear.dpmpp_2m.step(p, unused, x, t, m, semilinear.dpmpp_2m.init(x))[1]
  same = p._replace(denoise=lambda t, x: estimate)  # the corrected state is not evaluated again
  expected, _ = semilinear.dpmpp_2m.step(same, unused, corrected, m, s, remembered)
  np.testing.assert_allclose(x_s, expected, rtol=1e-5, atol=1e-6)
  assert float(jnp.max(jnp.abs(corrected - x_m))) > 1e-3


@pytest.mark.parametrize("tau", (0.5, 1.0))
@pytest.mark.parametrize("b", (None, "h"))
def test_a_lone_difference_of_sa_solver(b, tau):
  """Where x0 is log(alpha / sigma): its integral, by quadrature, or (1 + tau^2) alpha h^2 / 2."""
  path, ts = gaussian.cosine(), jnp.array([0.8, 0.6, 0.45])
  problem = path.problem(lambda t, x: base.half_log_snr(path, t) * jnp.ones_like(x))
  problem = problem._replace(noise=lambda key, x, t, s: jnp.zeros_like(x))
  solver = adams.sa_solver(2, 0, tau, b)
  end = base.integrate(solver, problem, jax.random.key(0), jnp.full((1, 1), 0.4), ts)
  lam, alpha, sigma = (np.asarray(v, np.float64) for v in (base.half_log_snr(path, ts), path.alpha(ts), path.sigma(ts)))
  kernel = lambda u, to: (1 + tau**2) * sigma[to] * np.exp(u - tau**2 * (lam[to] - u))
  integral = lambda f, to: integrate.quad(lambda u: kernel(u, to) * f(u), lam[to - 1], lam[to])[0]
  x, h = 0.4, np.diff(lam)
  for n in (1, 2):
    x = sigma[n] / sigma[n - 1] * np.exp(-(tau**2) * h[n - 1]) * x + lam[n - 1] * integral(lambda u: 1.0, n)
  bend = (1 + tau**2) * alpha[2] * h[1] ** 2 / 2 if b else integral(lambda u: u - lam[1], 2)
  np.testing.assert_allclose(end, x + bend, rtol=1e-4)


@pytest.mark.parametrize("r", [0.2, 1 / 3, 0.6])
def test_expansions_are_exact_where_they_end(r):
  """Of a straight line of x0 or eps over lambda the second order, and of a parabola of eps the third."""
  path, t, s, x = gaussian.cosine(), jnp.array(0.7), jnp.array(0.4), jnp.array([[0.3, -1.2]])
  lam = lambda t: base.half_log_snr(path, t)
  (a_t, a_s), (s_t, s_s) = ([float(f(u)) for u in (t, s)] for f in (path.alpha, path.sigma))
  integral = lambda f: integrate.quad(f, float(lam(t)), float(lam(s)))[0]
  step = lambda solver, problem: solver.step(problem, None, x, t, s, ())[0]

  line, parabola = (lambda u: 0.3 + 0.5 * u), (lambda u: 0.3 + 0.5 * u - 0.4 * u**2)
  of_x0 = path.problem(lambda t, x: line(lam(t)) * jnp.ones_like(x))
  expected = s_s / s_t * x + s_s * integral(lambda u: np.exp(u) * line(u))
  np.testing.assert_allclose(step(semilinear.dpmpp_2s("taylor", r), of_x0), expected, rtol=1e-4)

  for solver, eps in ((semilinear.dpm_2s("taylor", r), line), (semilinear.dpm_3s("taylor", r), parabola)):
    of_eps = path.problem(lambda t, x, eps=eps: (x - path.sigma(t) * eps(lam(t))) / path.alpha(t))
    expected = a_s / a_t * x - a_s * integral(lambda u, eps=eps: np.exp(-u) * eps(u))
    np.testing.assert_allclose(step(solver, of_eps), expected, rtol=1e-3)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("of", ["x0", "eps"])
def test_single_steps_are_exact_where_their_polynomials_end(of, order):
  """Twice as many steps as the order, and one: of a power of lambda below the order, but in the step left over.

  That one is DDIM's, which takes x0, or eps, for what it is where the step begins.
  """
  path, x, num = gaussian.cosine(), np.array([[0.3, -1.2]]), 2 * order + 1
  with jax.enable_x64(True):
    ts = jnp.array([0.9, 0.8, 0.72, 0.55, 0.5, 0.42, 0.4, 0.33])[: num + 1]
    lam, alpha, sigma = (np.asarray(f(ts)) for f in (lambda t: base.half_log_snr(path, t), path.alpha, path.sigma))
    curve = lambda u: 0.3 + 0.4 * u ** (order - 1)
    value = lambda t: curve(base.half_log_snr(path, t))
    of_x0 = lambda t, x: value(t) * jnp.ones_like(x)
    of_eps = lambda t, x: (x - path.sigma(t) * value(t)) / path.alpha(t)
    problem = path.problem(of_x0 if of == "x0" else of_eps)
    end = base.integrate(semilinear.single_step(order, of), problem, jax.random.key(0), jnp.asarray(x), ts)

  def exact(x, i, j, curve):
    if of == "x0":
      return sigma[j] / sigma[i] * x + sigma[j] * integrate.quad(lambda u: np.exp(u) * curve(u), lam[i], lam[j])[0]
    return alpha[j] / alpha[i] * x - alpha[j] * integrate.quad(lambda u: np.exp(-u) * curve(u), lam[i], lam[j])[0]

  before = exact(x, 0, num - 1, curve)
  np.testing.assert_allclose(end, exact(before, num - 1, num, lambda u: curve(lam[num - 1])), rtol=1e-9)


@pytest.mark.parametrize(
  "order, of, solver",
  [
    (2, "x0", semilinear.dpmpp_2s("taylor")),
    (2, "eps", semilinear.dpm_2s("taylor")),
    (3, "eps", semilinear.dpm_3s("taylor")),
  ],
)
def test_an_even_grid_gives_the_published_places(order, of, solver):
  """Where a grid is even in lambda, two or three of its steps are one with evaluations at halves or thirds."""
  path = gaussian.cosine()
  with jax.enable_x64(True):
    x = jax.random.normal(jax.random.key(0), (16, 2))
    problem, ts = path.problem(lambda t, x: jnp.tanh(x)), grids.log_snr()(path, 12)
    run = lambda solver, ts: base.integrate(solver, problem, jax.random.key(1), x, ts)
    np.testing.assert_allclose(run(semilinear.single_step(order, of), ts), run(solver, ts[::order]), rtol=1e-9)


@pytest.mark.parametrize("name", ["ddim", "dpm_2s", "dpmpp_2m", "edm.heun", "deis", "pndm"])
def test_many_steps_keep_the_digits(name):
  """Of normal data, float32 against float64: alpha has few digits near pure noise, and the steps begin there."""
  path, times = gaussian.cosine(), np.linspace(0.999, 0.001, 1001, dtype=np.float32)
  start = np.random.default_rng(0).standard_normal((64, 3), dtype=np.float32)

  def denoise(t, x):
    a, s = path.alpha(t), path.sigma(t)
    return a / (a**2 + 4 * s**2) * x

  def ends(dtype):
    run = lambda x, ts: base.integrate(SEMILINEAR[name], path.problem(denoise), jax.random.key(0), x, ts)
    return np.asarray(jax.jit(run)(jnp.asarray(start, dtype), jnp.asarray(times, dtype)))

  with jax.enable_x64(True):
    expected = ends(jnp.float64)
    np.testing.assert_allclose(ends(jnp.float32), expected, atol=1.5e-5 * np.abs(expected).max())


@pytest.mark.parametrize("order", [0, 4])
def test_single_steps_of_other_orders_are_refused(order):
  with pytest.raises(InputError, match=f"order = {order} should be from 1 to 3"):
    semilinear.single_step(order)


@pytest.mark.parametrize("make, r", [("dpm_2s", 0.0), ("dpm_2s", 1.5), ("dpm_3s", 0.7), ("dpmpp_2s", -1.0)])
def test_an_evaluation_outside_the_step_is_refused(make, r):
  with pytest.raises(InputError, match=f"r = {r} should be in"):
    getattr(semilinear, make)(r=r)


def test_sa_solver_keeps_the_law_of_a_point_whatever_its_tau():
  """Of x0 = 0, each step is exact: its end has the variance sigma^2. Row 0 meets the start alone, row n + 1 step n."""
  path, ts, rows = gaussian.cosine(), jnp.linspace(0.9, 0.1, 9), jnp.arange(9)[:, None]
  levels = np.asarray(path.sigma(ts) / path.alpha(ts))
  problem = path.problem(lambda t, x: jnp.zeros_like(x))
  problem = problem._replace(noise=lambda key, x, t, s: 1.0 * (rows == 1 + jnp.argmin(jnp.abs(ts - t))))
  some = adams.sa_solver(s_min=0.99 * float(levels[5]), s_max=1.01 * float(levels[2]))
  for solver, noisy in ((some, [2, 3, 4, 5]), (adams.sa_solver(), range(8)), (adams.sa_solver(s_min=90.0), [])):
    y = base.integrate(solver, problem, jax.random.key(0), 1.0 * (rows == 0), ts)[:, 0]
    np.testing.assert_array_equal(np.flatnonzero(y[1:]), noisy)
    np.testing.assert_allclose(
      y[0] ** 2 * path.sigma(ts[0]) ** 2 + jnp.sum(y[1:] ** 2), path.sigma(ts[-1]) ** 2, rtol=1e-4
    )


def test_sa_solver_of_one_value_is_ancestral():
  """tau = 1 with one value and no corrector draws from DDPM's posterior: arXiv:2309.05019, its relation to DDIM."""
  problem, ts = gaussian.cosine().problem(lambda t, x: jnp.tanh(x)), jnp.linspace(0.9, 0.1, 9)
  x = jax.random.normal(jax.random.key(0), (64, 2))
  run = lambda solver: base.integrate(solver, problem, jax.random.key(1), x, ts)
  np.testing.assert_allclose(run(adams.sa_solver(1, 0)), run(semilinear.ancestral), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", [semilinear.ancestral, semilinear.dpmpp_2m_sde, adams.sa_solver()])
def test_noise_is_asked_for_where_the_network_was(solver):
  """Its learned variance is then of the same call: of the same x at the same time."""
  seen, asked = [], []

  def denoise(t, x):
    seen.append((float(t), np.asarray(x)))
    return jnp.tanh(x)

  def noise(key, x, t, s):
    asked.append((float(t), np.asarray(x)))
    return jax.random.normal(key, x.shape)

  problem = gaussian.cosine().problem(denoise)._replace(noise=noise)
  x, ts = jnp.array([[0.5, -1.5]]), (0.9, 0.7, 0.5, 0.3)
  carry = solver.init(x)
  for n, (t, s) in enumerate(itertools.pairwise(ts)):
    x, carry = solver.step(solver.of(problem), jax.random.key(n), x, jnp.float32(t), jnp.float32(s), carry)
  assert len(asked) == len(seen) == 3
  jax.tree.map(np.testing.assert_array_equal, asked, seen)


def test_reverse_diffusion_is_that_of_the_discrete_chain():
  """DDPM's chain, x_(i-1) = (2 - sqrt(1 - beta)) x_i + beta score + sqrt(beta) z: arXiv:2011.13456, appendix E."""
  beta, abar = 0.01, 0.4
  alpha = lambda t: jnp.where(t > 0.5, np.sqrt(abar), np.sqrt(abar / (1 - beta)))
  sigma = lambda t: jnp.sqrt(1 - alpha(t) ** 2)
  p = base.Semilinear(alpha, sigma, lambda t, x: jnp.tanh(x), lambda key, x, t, s: jnp.ones_like(x))
  x, t, s = jnp.array([[0.3, -1.2]]), jnp.array(1.0), jnp.array(0.0)
  score = (np.sqrt(abar) * np.tanh(x) - x) / (1 - abar)
  expected = (2 - np.sqrt(1 - beta)) * x + beta * score + np.sqrt(beta)
  np.testing.assert_allclose(sde.reverse_diffusion.step(p, None, x, t, s, ())[0], expected, rtol=1e-4)


def test_churn_without_noise_is_heun_and_with_it_goes_up_first():
  path, x = gaussian.edm(), 3.0 * jnp.ones((4, 2))
  seen = []
  p = path.problem(lambda t, x: (seen.append(float(t)), jnp.tanh(x))[1])
  t, s = jnp.array(3.0), jnp.array(2.0)
  still, _ = edm.churn(gamma=0.3, s_max=2.5).step(p, jax.random.key(0), x, t, s, ())
  np.testing.assert_allclose(still, edm.heun.step(p, jax.random.key(0), x, t, s, ())[0], rtol=1e-5)
  seen.clear()
  edm.churn(gamma=0.3).step(p, jax.random.key(0), x, t, s, ())
  np.testing.assert_allclose(seen, [3.9, 2.0], rtol=1e-5)


@pytest.mark.parametrize("start", [0.3, 0.45, 0.5, 0.9])
def test_churn_goes_up_on_a_path_that_ends_nearby(start):
  """Of `gaussian.laplace` nothing is left after t = 1, where log(sigma / alpha) has a pole."""
  path, seen, gamma = gaussian.laplace(), [], 2**0.5 - 1
  p = path.problem(lambda t, x: (seen.append(t), jnp.tanh(x))[1])
  t = jnp.array(start)
  x, _ = edm.churn(gamma, s_min=0.0).step(p, jax.random.key(0), jnp.ones((4, 2)), t, t / 2, ())
  rise = base.half_log_snr(path, t) - base.half_log_snr(path, seen[0])
  np.testing.assert_allclose(rise, np.log1p(gamma), rtol=1e-4)
  assert np.isfinite(x).all()
