"""Interpolants between normal distributions, whose fields are written down."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import resolve
from gen_jax.errors import InputError
from gen_jax.families.interpolant import Interpolant
from gen_jax.nets.mlp import TimeMLP
from gen_jax.ops.shapes import expand
from gen_jax.processes import interpolation
from gen_jax.solvers import ode, sde, semilinear
from gen_jax.steps import Optimizer
from gen_jax.types import Entry, Spec

SPEC = Spec(shape=(2,), kind="vector", extra=(Entry(name="start", kind="vector", shape=(2,)),))
MEAN, STD = np.array([1.5, -1.0]), 0.4  # of the data
MEAN_START, STD_START = np.array([-0.5, 0.5]), 0.9
NUM = 20_000
PATHS = {"linear": interpolation.linear(0.5), "trigonometric": interpolation.trigonometric(0.3)}
# in the house's time, which runs from the data (0) to the start (1)
SCALES = {
  "linear": (lambda t: 1 - t, lambda t: t, lambda t: 0.5 * t * (1 - t), lambda t: -1 + 0 * t, lambda t: 1 + 0 * t),
  "trigonometric": (
    lambda t: np.cos(np.pi * t / 2),
    lambda t: np.sin(np.pi * t / 2),
    lambda t: 0.3 * t * (1 - t),
    lambda t: -np.pi / 2 * np.sin(np.pi * t / 2),
    lambda t: np.pi / 2 * np.cos(np.pi * t / 2),
  ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exact(Interpolant):
  """The conditional expectations of normal data, by regression on x_t."""

  def fields(self, params, keys=None):
    def field(t, x, cov_data, cov_start, cov_noise):  # of what is asked with x, start and z
      a, b, g = (expand(f(jnp.asarray(t)), x) for f in (self.path.alpha, self.path.beta, self.path.gamma))
      var = a**2 * STD**2 + b**2 * STD_START**2 + g**2
      cov = cov_data * a * STD**2 + cov_start * b * STD_START**2 + cov_noise * g
      mean = cov_data * MEAN + cov_start * MEAN_START
      return mean + cov / var * (x - a * MEAN - b * MEAN_START)

    def velocity(t, x):
      slopes = (jax.jvp(f, (jnp.asarray(t),), (jnp.ones_like(t),))[1] for f in (self.path.alpha, self.path.beta))
      return field(t, x, *(expand(s, x) for s in slopes), 0.0)

    return velocity, lambda t, x: field(t, x, 0.0, 0.0, 1.0)

  @property
  def path(self):
    return self.interpolation


def start(num):
  return jnp.asarray(MEAN_START + STD_START * np.random.default_rng(0).normal(size=(num, 2)), jnp.float32)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
  "solver, noise", ((ode.heun, 1.0), (sde.heun, 0.3), (sde.heun, 2.0)), ids=("ode", "sde", "noisy")
)
def test_samples_have_the_moments_of_the_data(name, solver, noise):
  """Whatever the path, and however much noise is added on the way."""
  family = Exact(spec=SPEC, interpolation=PATHS[name], solver=solver, noise=noise, steps=60)
  x = jax.jit(lambda c: family.sample(jax.random.key(1), {}, NUM, {"start": c}))(start(NUM))
  np.testing.assert_allclose(x.mean(0), MEAN, atol=0.02)
  np.testing.assert_allclose(x.std(0), STD, rtol=0.03)
  np.testing.assert_allclose(np.corrcoef(x.T)[0, 1], 0, atol=0.04)


@pytest.mark.parametrize("name", PATHS)
def test_loss_at_the_exact_fields(name):
  """What remains are the variances of the velocity and of the noise given x_t, averaged over t: by quadrature."""
  family, rng = Exact(spec=SPEC, interpolation=PATHS[name]), np.random.default_rng(1)
  x = jnp.asarray(MEAN + STD * rng.normal(size=(NUM, 2)), jnp.float32)
  batch = {"x": x, "start": start(NUM)}
  _, (metrics, _) = jax.jit(lambda b: family.loss({}, _State(), jax.random.key(2), b))(batch)
  t = np.linspace(1e-3, 0.999, 10_001)
  alpha, beta, gamma2, slope, slope_start = (f(t) for f in SCALES[name])
  var = alpha**2 * STD**2 + beta**2 * STD_START**2 + gamma2
  cov = slope * alpha * STD**2 + slope_start * beta * STD_START**2
  rest = slope**2 * STD**2 + slope_start**2 * STD_START**2 - cov**2 / var
  np.testing.assert_allclose(metrics["velocity_error"], np.trapezoid(rest, t), rtol=0.03)
  np.testing.assert_allclose(metrics["noise_error"], np.trapezoid(1 - gamma2 / var, t), rtol=0.03)


class _State:
  extra = ()


def test_training_learns_the_score():
  """A small network, after a short training: -eta / gamma is the slope of the log density of x_t."""
  family = Interpolant(spec=SPEC, net=TimeMLP(width=32, depth=1), interpolation=PATHS["linear"], ema_decay=None)
  family = dataclasses.replace(family, optimizer=Optimizer(lr=1e-2, schedule="cosine", decay_steps=600))
  draw = lambda key, mean, std: mean + std * jax.random.normal(key, (512, 2))

  def step(state, n):
    key_x, key_start, key_step = jax.random.split(jax.random.fold_in(jax.random.key(3), n), 3)
    batch = {"x": draw(key_x, MEAN, STD), "start": draw(key_start, MEAN_START, STD_START)}
    return family.step(key_step, state, batch)[0], None

  state = family.init(jax.random.key(0), {"x": jnp.zeros((512, 2)), "start": jnp.zeros((512, 2))})
  state, _ = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(600)))(state)
  alpha, beta, gamma2, *_ = (f(0.5) for f in SCALES["linear"])
  mean, var = alpha * MEAN + beta * MEAN_START, alpha**2 * STD**2 + beta**2 * STD_START**2 + gamma2
  x = jnp.asarray(mean + var**0.5 * np.random.default_rng(2).normal(size=(200, 2)), jnp.float32)
  score = -family.fields(state.params)[1](jnp.array(0.5), x) / gamma2**0.5
  error = np.asarray(score - (mean - x) / var)
  assert np.square(error).mean() < 0.02 / var  # of a score whose mean square is 1 / var


def test_the_way_has_its_ends():
  for path in PATHS.values():
    ends = jnp.array([0.0, 1.0])
    np.testing.assert_allclose(path.alpha(ends), [1, 0], atol=1e-6)
    np.testing.assert_allclose(path.beta(ends), [0, 1], atol=1e-6)
    np.testing.assert_allclose(path.gamma(ends), [0, 0])
    x, begin, t = jnp.ones((1, 2)), jnp.full((1, 2), 3.0), jnp.array(0.3)
    np.testing.assert_allclose(path.data(path.mean(x, begin, t), path.slope(x, begin, t), t), x, rtol=1e-5)


def test_config_builds_it():
  family = resolve.build("families", dict(name="interpolant.Interpolant", net="mlp.TimeMLP", steps=10), spec=SPEC)
  assert family.conditions == ("start",) and family.evaluations == 2 * (10 * 2 + 1)
  with pytest.raises(InputError, match="samples are made of 'start'"):
    family.sample(jax.random.key(0), {}, 4)


@pytest.mark.parametrize(
  "fields, message",
  (
    (dict(spec=Spec(shape=(2,), kind="vector")), "these data have no 'start'"),
    (dict(spec=dataclasses.replace(SPEC, shape=(3,))), "they must agree"),
    (dict(solver=semilinear.ddim()), "is for a Semilinear problem"),
    (dict(noise=0.0), r"ode\.heun"),
    (dict(steps=0), "at least 1"),
  ),
)
def test_bad_input(fields, message):
  with pytest.raises(InputError, match=message):
    Interpolant(**{"spec": SPEC, "net": TimeMLP(), **fields})
  with pytest.raises(InputError, match="should be more than 0"):
    interpolation.linear(0.0)
