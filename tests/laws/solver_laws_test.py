"""Every solver against the two data distributions whose denoiser is known: a solver is tested by existing.

The data are one-dimensional, so that the probability flow has an answer that needs no solver: it is monotone, hence it
carries every quantile of the law at time t to the same quantile at time s.
"""

import dataclasses
import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from gen_jax import solvers
from gen_jax.processes import gaussian
from gen_jax.solvers import base, grids, semilinear

DATA = {  # weights, means and standard deviations of a mixture
  "gaussian": ([1.0], [0.7], [0.5]),
  "mixture": ([0.3, 0.7], [-0.6, 0.8], [0.35, 0.25]),
}
PATHS = {f.__name__: f for f in (gaussian.linear, gaussian.cosine, gaussian.edm, gaussian.rectified)}
GRIDS = {f.__name__: f for f in (grids.linear, grids.rho, grids.log_snr)}


def all_solvers():
  """(name, Solver) of every ready-made solver and of every function that makes one."""
  makes_one = lambda v: inspect.isfunction(v) and inspect.signature(v).return_annotation is base.Solver
  for module in pkgutil.iter_modules(solvers.__path__):
    contents = importlib.import_module(f"{solvers.__name__}.{module.name}")
    for name, value in vars(contents).items():
      if isinstance(value, base.Solver):
        yield f"{module.name}.{name}", value
      elif makes_one(value) and not name.startswith("_"):
        yield f"{module.name}.{name}", value()


SOLVERS = dict(all_solvers()) | {f"semilinear.ddim(eta={eta})": semilinear.ddim(eta) for eta in (0.5, 1.0)}
DETERMINISTIC = sorted(k for k, v in SOLVERS.items() if not v.stochastic)
STOCHASTIC = sorted(k for k, v in SOLVERS.items() if v.stochastic)


def denoiser(path, data):
  """E[x0 | xt] of a mixture, by Bayes' rule; x of any shape."""
  weights, means, stds = (jnp.array(v)[:, None] for v in DATA[data])

  def denoise(t, x):
    shape, x = x.shape, x.reshape(-1)
    t = jnp.broadcast_to(t, shape[:1]).repeat(int(np.prod(shape[1:])))
    a, s = path.alpha(t), path.sigma(t)
    var = (a * stds) ** 2 + s**2
    logits = jnp.log(weights) - 0.5 * jnp.log(var) - (x - a * means) ** 2 / (2 * var)
    posterior = means + a * stds**2 / var * (x - a * means)
    return (jax.nn.softmax(logits, axis=0) * posterior).sum(0).reshape(shape)

  return denoise


def law(path, data, t):
  """The distribution function of xt, and its inverse, in numpy."""
  weights, means, stds = map(np.array, DATA[data])
  a, s = float(path.alpha(jnp.asarray(t))), float(path.sigma(jnp.asarray(t)))
  spread = np.sqrt((a * stds) ** 2 + s**2)
  cdf = lambda x: np.sum(weights * stats.norm.cdf((np.asarray(x)[..., None] - a * means) / spread), -1)
  far = 12 * np.max(np.abs(a * means) + spread)
  return cdf, lambda q: optimize.brentq(lambda x: cdf(x) - q, -far, far, xtol=1e-14, rtol=1e-14)


def between(path, high, low):
  """The part of a path where log(alpha / sigma) goes from `low` to `high`."""
  t_min, t_max = grids.time_at(path, jnp.array([high, low]))
  return dataclasses.replace(path, t_min=float(t_min), t_max=float(t_max))


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_of_convergence(x64, name, path, data):
  solver, path = SOLVERS[name], between(PATHS[path](), 1.7, -1.2)
  (cdf, _), (_, inverse) = law(path, data, path.t_max), law(path, data, path.t_min)
  x = float(path.sigma(jnp.asarray(path.t_max))) * jnp.linspace(-2.0, 2.0, 9)
  exact = np.array([inverse(q) for q in cdf(x)])
  problem = path.problem(denoiser(path, data))
  errors = []
  for num in (128, 256):
    ts = grids.log_snr()(path, num)
    y = jax.jit(lambda x, ts: base.integrate(solver, problem, jax.random.key(0), x, ts))(x, ts)
    errors.append(np.sqrt(np.mean(np.square(y - exact))))
  order = np.log2(errors[0] / errors[1])
  # On a Gaussian a leading error term can vanish: with alpha = 1, sigma = t the solution is the root of a quadratic,
  # for which the midpoint rule is of order 3. The mixture spares no method.
  ceiling = np.inf if data == "gaussian" else solver.order + 0.6
  assert solver.order - 0.15 < order < ceiling, f"order {order:.2f} from errors {errors}"


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_law_of_stochastic_solvers(name, path, data):
  solver, path = SOLVERS[name], between(PATHS[path](), 2.5, -2.5)
  num, ts = 20_000, grids.log_snr()(path, 400)
  (_, inverse), (cdf, _) = law(path, data, path.t_max), law(path, data, path.t_min)
  x = jnp.array([inverse(q) for q in (np.arange(num // 20) + 0.5) / (num // 20)]).repeat(20)
  problem = path.problem(denoiser(path, data))
  y = jax.jit(lambda x: base.integrate(solver, problem, jax.random.key(1), x, ts))(x)
  distance = stats.kstest(np.asarray(y), cdf).statistic
  assert distance < 1.95 / np.sqrt(num) + 0.004, distance  # 0.1% point, and the bias of 400 steps


@pytest.mark.parametrize("name", SOLVERS)
def test_evaluations_and_key(name):
  """A step calls the denoiser as often as it says, and reads its key if it says so."""
  solver, path, calls = SOLVERS[name], gaussian.cosine(), []
  denoise = lambda t, x: (calls.append(t), 0.5 * x)[1]
  problem = solver.of(path.problem(denoise))
  x, t, s = jnp.ones((2, 3)), jnp.array(0.5), jnp.array(0.4)
  step = lambda key: solver.step(problem, key, x, t, s, solver.init(problem, x))[0]
  one, other = step(jax.random.key(0)), step(jax.random.key(1))
  assert len(calls) == 2 * solver.evaluations
  assert bool(jnp.any(one != other)) == solver.stochastic


@pytest.mark.parametrize("name", SOLVERS)
def test_times_per_example(name):
  """One step with times [B] is the same as B steps with scalar times."""
  solver, path = SOLVERS[name], gaussian.cosine()
  problem = solver.of(path.problem(denoiser(path, "mixture")))
  x = jax.random.normal(jax.random.key(0), (3, 2, 2))
  t, s = jnp.array([0.9, 0.5, 0.2]), jnp.array([0.7, 0.45, 0.1])
  step = lambda t, s: solver.step(problem, jax.random.key(1), x, t, s, solver.init(problem, x))[0]
  together = step(t, s)
  for i in range(3):
    np.testing.assert_allclose(together[i], step(t[i], s[i])[i], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("num", (1, 31, 1000))
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("grid", GRIDS)
def test_grids(grid, path, num):
  """Grids fall strictly, from t_max to t_min, in float32."""
  path = PATHS[path]()
  ts = np.asarray(GRIDS[grid]()(path, num))
  assert ts.shape == (num + 1,) and ts.dtype == np.float32
  assert ts[0] == np.float32(path.t_max) and ts[-1] == np.float32(path.t_min)
  assert np.all(np.diff(ts) < 0)
