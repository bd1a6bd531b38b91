"""Every solver against a data distribution whose denoiser is known: a solver is tested by existing.

The data have two independent coordinates, a Gaussian and a mixture, so that the probability flow has an answer that
needs no solver: in each coordinate it is monotone, hence it carries every quantile of the law at time t to the same
quantile at time s.
"""

import dataclasses
import functools
import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from gen_jax import solvers
from gen_jax.ops.shapes import expand
from gen_jax.processes import gaussian
from gen_jax.solvers import adams, base, brownian, deis, edm, grids, langevin, sde, semilinear

WEIGHTS = np.array([[0.5, 0.3], [0.5, 0.7]])  # of the components [2, coordinates]
MEANS = np.array([[0.7, -0.6], [0.7, 0.8]])
STDS = np.array([[0.5, 0.35], [0.5, 0.25]])
PATHS = {f.__name__: f() for f in (gaussian.linear, gaussian.cosine, gaussian.edm, gaussian.rectified)}


def made_in(room, kind, needed):
  """(name, object) of every ready-made object of a `kind` in `room`, and of every function that makes one by itself."""
  for module in pkgutil.iter_modules(room.__path__):
    contents = importlib.import_module(f"{room.__name__}.{module.name}")
    for name, value in vars(contents).items():
      if needed(value):
        yield f"{module.name}.{name}", value
      elif inspect.isfunction(value) and not name.startswith("_"):
        signature = inspect.signature(value)
        complete = all(p.default is not p.empty for p in signature.parameters.values())
        if signature.return_annotation == kind and complete:
          yield f"{module.name}.{name}", value()


SOLVERS = dict(made_in(solvers, base.Solver, lambda v: isinstance(v, base.Solver)))
SOLVERS |= {
  "semilinear.ddim(0.5)": semilinear.ddim(0.5),
  "semilinear.ddim(1)": semilinear.ddim(1.0),
  "semilinear.dpm_2s(taylor)": semilinear.dpm_2s("taylor"),
  "semilinear.dpm_2s(0.3)": semilinear.dpm_2s(r=0.3),
  "semilinear.dpm_3s(taylor)": semilinear.dpm_3s("taylor"),
  "semilinear.dpm_3s(0.5)": semilinear.dpm_3s(r=0.5),
  "semilinear.dpmpp_2s(taylor)": semilinear.dpmpp_2s("taylor"),
  "semilinear.single_step(3)": semilinear.single_step(3),
  "semilinear.single_step(2, eps)": semilinear.single_step(2, "eps"),
  "semilinear.single_step(3, eps)": semilinear.single_step(3, "eps"),
  "deis.deis(1)": deis.deis(1),
  "deis.deis(2, t)": deis.deis(2, "t"),
  "deis.deis(3, t)": deis.deis(3, "t"),
  "deis.deis(3, rho)": deis.deis(3, "rho"),
  "deis.ipndm(1)": deis.ipndm(1),
  "deis.ipndm(2)": deis.ipndm(2),
  "adams.unipc(1)": adams.unipc(1),
  "adams.unipc(1, h)": adams.unipc(1, "h"),
  "adams.unipc(2)": adams.unipc(2),
  "adams.unipc(2, h)": adams.unipc(2, "h"),
  "adams.sa_solver(2, 0, tau=0)": adams.sa_solver(2, 0, tau=0.0),
  "adams.sa_solver(2, 2, tau=0)": adams.sa_solver(2, 2, tau=0.0),
  "adams.sa_solver(2, 1, tau=0, h)": adams.sa_solver(2, 1, tau=0.0, b="h"),
  "adams.sa_solver(2, 0, tau=0.5)": adams.sa_solver(2, 0, tau=0.5),
  "adams.sa_solver(some)": adams.sa_solver(s_min=0.3, s_max=2.0),
  "langevin.annealed": langevin.annealed(rounds=5),  # the published 100 are for few levels, here there are many
}
DETERMINISTIC = sorted(k for k, v in SOLVERS.items() if not v.stochastic and v.evaluations)
ADAPTIVE = sorted(k for k, v in SOLVERS.items() if not v.evaluations)
STOCHASTIC = sorted(k for k, v in SOLVERS.items() if v.stochastic)
NUMS = (120, 240)  # with the twelve that `graded` begins with, multiples of 2 and 3: no step is left over
GRIDS = dict(made_in(solvers, grids.Grid, lambda v: False))


def denoiser(path):
  """E[x0 | xt] of the data, by Bayes' rule; x [..., 2]."""

  def denoise(t, x):
    a, s = expand(path.alpha(t), x), expand(path.sigma(t), x)
    var = [(a * std) ** 2 + s**2 for std in STDS]
    logits = [
      jnp.log(w) - 0.5 * jnp.log(v) - (x - a * m) ** 2 / (2 * v) for w, m, v in zip(WEIGHTS, MEANS, var, strict=True)
    ]
    means = [m + a * std**2 / v * (x - a * m) for m, std, v in zip(MEANS, STDS, var, strict=True)]
    first = jax.nn.sigmoid(logits[0] - logits[1])
    return first * means[0] + (1 - first) * means[1]

  return denoise


def laws(path, t):
  """For each coordinate, the distribution function of xt, and its inverse, in numpy."""
  a, s = float(path.alpha(jnp.asarray(t))), float(path.sigma(jnp.asarray(t)))
  for weights, means, stds in zip(WEIGHTS.T, MEANS.T, STDS.T, strict=True):
    spread = np.sqrt((a * stds) ** 2 + s**2)
    centre, far = a * means, 12 * np.max(np.abs(a * means) + spread)
    cdf = lambda x, w=weights, m=centre, s=spread: np.sum(w * stats.norm.cdf((np.asarray(x)[..., None] - m) / s), -1)
    inverse = lambda q, cdf=cdf, far=far: optimize.brentq(lambda x: cdf(x) - q, -far, far, xtol=1e-14, rtol=1e-14)
    yield cdf, inverse


def between(path, high, low):
  """The part of a path where log(alpha / sigma) goes from `low` to `high`."""
  t_min, t_max = grids.time_at(path, jnp.array([high, low]))
  return dataclasses.replace(path, t_min=float(t_min), t_max=float(t_max))


@functools.cache
def graded(path, num):
  """Even in log-SNR, but for the first interval, which is cut into halves of halves: the lower orders that a multistep
  method begins with then leave an error too small to be seen."""
  ends = base.half_log_snr(path, jnp.array([path.t_max, path.t_min]))
  share = np.concatenate([[0.0], 2.0 ** -np.arange(12, 0, -1), np.arange(1, num + 1)]) / num
  ts = grids.time_at(path, ends[0] + share * (ends[1] - ends[0]))
  return ts.at[0].set(path.t_max).at[-1].set(path.t_min)


def on_path(index, **kwargs):
  """The problem on path number `index`, which is traced, so that a solver is compiled once for all paths."""
  paths = list(PATHS.values())
  alpha = lambda t: jax.lax.switch(index, [p.alpha for p in paths], t)
  sigma = lambda t: jax.lax.switch(index, [p.sigma for p in paths], t)
  return base.Semilinear(alpha, sigma, denoiser(base.Semilinear(alpha, sigma, None)), **kwargs)


@functools.cache
def compiled(name):
  """(number of a path, x, ts, key) -> what the solver `name` makes of it."""
  return jax.jit(lambda index, x, ts, key: base.integrate(SOLVERS[name], on_path(index), key, x, ts))


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield


@functools.cache
def quantiles(path):
  """Some states at the noisy end of a part of a path, and those that the flow takes them to: [9, 2] each."""
  part = between(PATHS[path], 1.7, -1.2)
  x = float(part.sigma(jnp.asarray(part.t_max))) * np.linspace(-2.0, 2.0, 9)
  both = zip(laws(part, part.t_max), laws(part, part.t_min), strict=True)
  exact = [[inverse(q) for q in cdf(x)] for (cdf, _), (_, inverse) in both]
  return part, jnp.stack([x, x], -1), np.array(exact).T


def errors(name, path, num):
  """Root mean square error of each coordinate at the end."""
  part, x, exact = quantiles(path)
  y = compiled(name)(list(PATHS).index(path), x, graded(part, num), jax.random.key(0))
  return np.sqrt(np.mean(np.square(y - exact), axis=0))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_of_convergence(x64, name, path):
  order = SOLVERS[name].order
  coarse, fine = (errors(name, path, num) for num in NUMS)
  gaussian_order, mixture_order = np.log2(coarse / fine)
  # On a Gaussian a leading error term can vanish: with alpha = 1, sigma = t the solution is the root of a quadratic,
  # for which the midpoint rule is of order 3. The mixture spares no method.
  assert order - 0.15 < gaussian_order, (coarse, fine)
  assert order - 0.15 < mixture_order < order + 0.6, (coarse, fine)


def test_both_third_orders_of_dpmpp(x64):
  """The shipped second difference lacks a factor 2 and has slope 2; the corrected one has slope 3."""
  for name, slope in (("semilinear.dpmpp_3m", 2.0), ("semilinear.dpmpp_3m_corrected", 3.0)):
    for path in PATHS:
      coarse, fine = (errors(name, path, num)[1] for num in NUMS)
      assert abs(np.log2(coarse / fine) - slope) < 0.15


def test_a_single_step_that_is_left_over(x64):
  """It is DDIM's, whose error is of order 2 in the one step that it is."""
  for name in ("semilinear.single_step(3)", "semilinear.single_step(3, eps)"):
    for path in PATHS:
      coarse, fine = (errors(name, path, num + 1)[1] for num in (240, 480))
      assert 1.7 < np.log2(coarse / fine) < 2.3, (name, path, coarse, fine)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_error_follows_the_tolerance(x64, name):
  """Two times are enough, and a tolerance 100 times smaller makes the error at least 10 times smaller.

  That is so from 1e-5 on: with larger ones the solve is over before its steps have grown to what they allow.
  """
  maker = getattr(importlib.import_module(f"gen_jax.solvers.{name.split('.')[0]}"), name.split(".")[1])
  part, x, exact = quantiles("cosine")
  problem, error = PATHS["cosine"].problem(denoiser(PATHS["cosine"])), {}
  for tol in (1e-3, 1e-5, 1e-7, 1e-9):
    y = base.integrate(maker(tol, tol), problem, jax.random.key(0), x, jnp.array([part.t_max, part.t_min]))
    error[tol] = np.sqrt(np.mean(np.square(y - exact)))
    assert error[tol] < 3 * tol, error
  assert error[1e-7] < error[1e-5] / 10 and error[1e-9] < error[1e-7] / 10, error


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_law_of_stochastic_solvers(name, path):
  part, num = between(PATHS[path], 2.5, -2.5), 10_000
  ts = grids.log_snr()(part, 400)
  starts = [[inverse(q) for q in (np.arange(num // 20) + 0.5) / (num // 20)] for _, inverse in laws(part, part.t_max)]
  key_mix, key = jax.random.split(jax.random.key(1))
  x = jnp.array(starts).T.repeat(20, axis=0)
  x = x.at[:, 1].set(jax.random.permutation(key_mix, x[:, 1]))  # the coordinates are independent
  y = compiled(name)(list(PATHS).index(path), x, ts, key)
  for column, (cdf, _) in zip(np.asarray(y).T, laws(part, part.t_min), strict=True):
    distance = stats.kstest(column, cdf).statistic
    assert distance < 1.95 / np.sqrt(num) + 0.004, distance  # 0.1% point, and the bias of 400 steps


# Those that solve the reverse diffusion and read one increment a step: they follow one and the same path.
STRONG = sorted(
  k
  for k in STOCHASTIC
  if not k.startswith(("langevin.", "edm."))
  and k not in ("semilinear.ddim(0.5)", "adams.sa_solver(2, 0, tau=0.5)", "adams.sa_solver(some)")
)


@functools.cache
def strong_errors():
  """For each of them, its distance from one fine solution along the same Brownian path, with 64 and 128 steps."""
  part = between(PATHS["cosine"], 2.0, -2.0)
  noise = brownian.tree(jax.random.key(3), part.t_min, part.t_max, depth=18)
  problem = part.problem(denoiser(part))._replace(noise=noise)
  x = jax.random.normal(jax.random.key(0), (256, 2))
  run = lambda solver, num: base.integrate(solver, problem, jax.random.key(num), x, grids.log_snr()(part, num))
  exact = jax.jit(lambda: run(sde.heun, 2048))()
  runs = jax.jit(lambda: {name: [run(SOLVERS[name], num) for num in (64, 128)] for name in STRONG})()
  return {name: [float(jnp.sqrt(jnp.mean((y - exact) ** 2))) for y in ys] for name, ys in runs.items()}


@pytest.mark.parametrize("name", STRONG)
def test_strong_order(name):
  """Noise does not depend on the state: the path itself, not only its law, converges with order 1."""
  coarse, fine = strong_errors()[name]
  assert fine < 0.03 and coarse / fine > 2**0.8, (coarse, fine)


def variance_error(solver, path, num):
  """How far the variance of N(0, 1/4) is off after `num` steps, without a draw.

  There the denoiser is linear, and so is the end in the start and in the noise of every step: each row of a batch is
  given one of them alone, and says what it counts for.
  """
  std, ts, rows = 0.5, grids.log_snr()(path, num), jnp.arange(num + 1)[:, None]
  var = lambda t: (path.alpha(t) * std) ** 2 + path.sigma(t) ** 2
  denoise = lambda t, x: path.alpha(t) * std**2 / var(t) * x
  noise = lambda key, x, t, s: jnp.where(rows == 1 + jnp.argmin(jnp.abs(ts - t)), 1.0, jnp.zeros_like(x))
  problem, start = path.problem(denoise)._replace(noise=noise), jnp.where(rows == 0, 1.0, 0.0)
  share = jax.jit(lambda x: base.integrate(solver, problem, jax.random.key(0), x, ts))(start)[:, 0]
  return float(share[0] ** 2 * var(ts[0]) + jnp.sum(share[1:] ** 2) - var(ts[-1]))


@pytest.mark.parametrize("path", ["linear", "edm"])
@pytest.mark.parametrize("name", [k for k in STOCHASTIC if SOLVERS[k].order])
def test_weak_order(name, path):
  """Eight times the steps, and the variance is 8^order times nearer, at least: some do better where noise is additive.

  Noise that is wrong by one percent leaves an error that stays, and that fewer steps can hide behind their own.
  """
  made = lambda num: edm.churn(6.4 / num) if name == "edm.churn" else SOLVERS[name]  # which adds less in smaller steps
  with jax.enable_x64(True):
    part = between(PATHS[path], 2.0, -2.0)
    coarse, fine = (variance_error(made(num), part, num) for num in (64, 512))
  assert abs(coarse) > 1e-5  # it is the method's error, and not rounding
  assert np.log2(abs(coarse / fine)) / 3 > SOLVERS[name].order - 0.1, (coarse, fine)


@pytest.mark.parametrize("steps", [2, 6])  # two are fewer than some take to start up
@pytest.mark.parametrize("name", [k for k in SOLVERS if k not in ADAPTIVE])
def test_evaluations(name, steps):
  """Steps call the denoiser as often as they say."""
  solver, path, calls = SOLVERS[name], gaussian.cosine(), []

  def denoise(t, x):
    jax.debug.callback(lambda _: calls.append(1), t)
    return 0.5 * x

  run = jax.jit(lambda x, ts: base.integrate(solver, path.problem(denoise), jax.random.key(0), x, ts))
  jax.block_until_ready(run(jnp.ones((2, 2)), jnp.linspace(0.9, 0.2, steps + 1)))
  jax.effects_barrier()
  assert len(calls) == solver.calls(steps)


@pytest.mark.parametrize("name", SOLVERS)
def test_key(name):
  """A step reads its key if it says so."""
  solver, path = SOLVERS[name], gaussian.cosine()
  problem = solver.of(path.problem(denoiser(path)))
  x, t, s = jnp.ones((2, 2)), jnp.array(0.5), jnp.array(0.4)
  step = lambda key: solver.step(problem, key, x, t, s, solver.init(x))[0]
  assert bool(jnp.any(step(jax.random.key(0)) != step(jax.random.key(1)))) == solver.stochastic


# An adaptive step and the corrector's are chosen for the batch as a whole.
ROW_BY_ROW = [k for k in SOLVERS if k not in ADAPTIVE and k != "langevin.predictor_corrector"]


@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_times_per_example(name):
  """One step with times [B] is the same as B steps with scalar times."""
  solver, path = SOLVERS[name], gaussian.cosine()
  problem = solver.of(path.problem(denoiser(path)))
  x = jax.random.normal(jax.random.key(0), (3, 2, 2))
  t, s = jnp.array([0.9, 0.5, 0.2]), jnp.array([0.7, 0.45, 0.1])
  step = jax.jit(lambda t, s: solver.step(problem, jax.random.key(1), x, t, s, solver.init(x))[0])
  together = step(t, s)
  for i in range(3):
    np.testing.assert_allclose(together[i], step(t[i], s[i])[i], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("num", (0, 1, 31, 1000))
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("grid", GRIDS)
def test_grids(grid, path, num):
  """Grids fall strictly, from t_max to t_min, in float32; the trailing one leaves the last step to the denoising."""
  path = PATHS[path]
  ts = np.asarray(GRIDS[grid](path, num))
  assert ts.shape == (num + 1,) and ts.dtype == np.float32
  assert ts[0] == np.float32(path.t_max)
  if grid == "grids.trailing":
    np.testing.assert_allclose(ts[-1], path.t_min + (path.t_max - path.t_min) / (num + 1), atol=1e-6 * path.t_max)
  elif num:
    assert ts[-1] == np.float32(path.t_min)
  assert np.all(np.diff(ts) < 0)
