"""The diffusion family around networks whose answers are known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import resolve
from gen_jax.errors import InputError
from gen_jax.families.diffusion import Diffusion
from gen_jax.family import HasDenoiser
from gen_jax.nets.mlp import TimeMLP
from gen_jax.ops.shapes import expand
from gen_jax.processes import gaussian, prediction, weighting
from gen_jax.solvers import edm, grids, ode, sde, semilinear
from gen_jax.steps import Optimizer
from gen_jax.types import Spec

PLANE = Spec(shape=(2,), kind="vector", classes=3)
STD = 0.5  # of the Gaussian data that the exact networks know


class Exact(nn.Module):
  """The noise that is expected in xt, on the cosine path, if class k is N(k, STD^2) and the null label N(0, STD^2)."""

  classes: int = 0

  @nn.compact
  def __call__(self, x, time, label=None, *, train=False):
    self.param("unused", nn.initializers.zeros_init(), (1,))
    ratio = jnp.exp(4 * time)  # sigma / alpha
    a, s = (expand(v, x) for v in (1 / jnp.sqrt(1 + ratio**2), ratio / jnp.sqrt(1 + ratio**2)))
    mean = 0.0 if label is None else expand(jnp.where(label == self.classes, 0, label), x)
    return s * (x - a * mean) / ((a * STD) ** 2 + s**2)


class Counting(nn.Module):
  """Records the labels that it is given."""

  classes: int = 0
  seen = []

  @nn.compact
  def __call__(self, x, time, label=None, *, train=False):
    jax.debug.callback(lambda v: Counting.seen.append(np.asarray(v)), label)
    return x * self.param("unused", nn.initializers.zeros_init(), (1,))


def exact(**kwargs):
  return Diffusion(spec=PLANE, net=Exact(), prediction=prediction.eps(), **kwargs)


def start(family, num=8):
  batch = {"x": jnp.zeros((num, *family.spec.shape)), "label": jnp.zeros(num, jnp.int32)}
  return family.init(jax.random.key(0), batch), batch


def test_config_builds_it():
  family = resolve.build(
    "families",
    dict(
      name="diffusion.Diffusion",
      net=dict(name="mlp.TimeMLP", width=16),
      path="gaussian.edm",
      prediction=dict(name="prediction.edm", sigma_data=0.7),
      solver=dict(name="semilinear.ddim", eta=0.3),
      optimizer=dict(lr=3e-4),
    ),
    spec=PLANE,
  )
  assert family.net == TimeMLP(width=16) and family.path.t_max == 80.0 and family.optimizer.lr == 3e-4
  assert family.solver.stochastic and isinstance(family, HasDenoiser)


@pytest.mark.parametrize("weight", (weighting.simple(), weighting.x0()), ids=("simple", "x0"))
def test_loss_at_the_exact_denoiser(weight):
  """What remains is w(snr) Var[x0 | xt], averaged over t: here by quadrature."""
  family, num = exact(weight=weight), 100_000
  state, _ = start(family)
  x = STD * jax.random.normal(jax.random.key(1), (num, 2))
  loss = family.loss(state.params, state, jax.random.key(2), {"x": x})[0]
  t = np.linspace(family.path.t_min, family.path.t_max, 20_001)
  snr = np.asarray((family.path.alpha(jnp.array(t)) / family.path.sigma(jnp.array(t))) ** 2, np.float64)
  remains = np.asarray(weight(snr)) / (snr + 1 / STD**2)
  np.testing.assert_allclose(loss, np.trapezoid(remains, t) / (t[-1] - t[0]), rtol=0.02)


def test_predictions_weigh_alike():
  """The loss is that of the denoiser: the same whichever output the weight is expressed in."""
  x, key = STD * jax.random.normal(jax.random.key(1), (256, 2)), jax.random.key(2)

  class Through(nn.Module):
    """The exact denoiser, as another prediction's output."""

    to: prediction.Prediction
    classes: int = 0

    def setup(self):
      self.inner = Exact()

    def __call__(self, x, time, label=None, *, train=False):
      path = gaussian.cosine()
      t = grids.time_at(path, -4 * time)
      x0 = prediction.eps()(path, t).to_x0(self.inner(x, time), x)
      return self.to(path, t).from_x0(x0, x)

  losses = []
  for to in (prediction.eps(), prediction.v(), prediction.x0(), prediction.edm(1.0)):
    family = Diffusion(spec=PLANE, net=Through(to), prediction=to, weight=weighting.min_snr())
    state, _ = start(family)
    losses.append(family.loss(state.params, state, key, {"x": x})[0])
  np.testing.assert_allclose(losses, losses[0], rtol=1e-3)


@pytest.mark.parametrize("rate", (0.0, 0.25))
def test_label_dropout(rate):
  """A share `rate` of the labels is the null label, and the others are as they were."""
  family = Diffusion(spec=PLANE, net=Counting(), conditions=("label",), label_dropout=rate)
  state, _ = start(family)
  label = jnp.arange(20_000) % 3
  Counting.seen.clear()
  family.loss(state.params, state, jax.random.key(1), {"x": jnp.zeros((20_000, 2)), "label": label})
  jax.effects_barrier()
  seen = Counting.seen[-1]
  hidden = seen == 3
  assert abs(hidden.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / 20_000) + 1e-9
  assert np.array_equal(seen[~hidden], np.asarray(label)[~hidden])


def test_guidance_ends():
  """Weight 1 is conditional, 0 is unconditional, and others lie on the line through both, at twice the cost."""
  label, xt = jnp.array([0, 1, 2, 2]), jax.random.normal(jax.random.key(0), (4, 2))
  t = jnp.array(0.6)

  def estimate(weight, cond):
    family = exact(conditions=("label",), label_dropout=0.1, guidance=weight)
    state, _ = start(family)
    return family.denoiser(state.params, cond)(t, xt), family.evaluations

  (free, one), (given, same) = estimate(0.0, {"label": label}), estimate(1.0, {"label": label})
  nothing, _ = estimate(3.0, None)
  far, twice = estimate(3.0, {"label": label})
  np.testing.assert_allclose(nothing, free)
  np.testing.assert_allclose(far, free + 3 * (given - free), rtol=1e-4, atol=1e-5)
  assert float(jnp.abs(given - free)[1:].min()) > 0.05  # the label matters
  assert one == same and twice == 2 * one


def test_evaluations_are_counted():
  """Steps times evaluations per step, and the last denoising."""
  calls = []

  class Net(nn.Module):
    classes: int = 0

    @nn.compact
    def __call__(self, x, time, label=None, *, train=False):
      jax.debug.callback(lambda: calls.append(1))
      return x * self.param("unused", nn.initializers.zeros_init(), (1,))

  for solver in (ode.rk4, edm.heun, semilinear.dpmpp_2m):
    family = Diffusion(spec=PLANE, net=Net(), solver=solver, steps=5)
    state, _ = start(family)
    jax.effects_barrier()
    calls.clear()
    jax.block_until_ready(jax.jit(family.sample, static_argnums=2)(jax.random.key(0), state.params, 3))
    jax.effects_barrier()
    assert len(calls) == family.evaluations == 5 * solver.evaluations + 1


@pytest.mark.parametrize(
  "solver, grid, steps",
  (
    (semilinear.dpmpp_2m, grids.log_snr(), 31),
    (semilinear.ddim(), grids.log_snr(), 100),
    (semilinear.ancestral, grids.log_snr(), 400),
    (sde.euler_maruyama, grids.log_snr(), 200),
    (edm.heun, grids.rho(), 40),
    (ode.heun, grids.log_snr(), 30),
  ),
)
def test_samples_follow_the_data(solver, grid, steps):
  """From noise to N(label, STD^2), with the exact network."""
  num = 30_000
  family = exact(solver=solver, grid=grid, steps=steps, conditions=("label",))
  state, _ = start(family)
  label = jnp.arange(num) % 3
  x = jax.jit(family.sample, static_argnums=2)(jax.random.key(1), state.params, num, {"label": label})
  assert x.shape == (num, 2)
  for k in range(3):
    part = np.asarray(x[label == k])
    assert abs(part.mean() - k) < 0.03
    assert abs(part.std() / STD - 1) < 0.04


def test_clip():
  family = exact(clip=True, conditions=("label",))
  state, _ = start(family)
  x = family.sample(jax.random.key(1), state.params, 500, {"label": jnp.full(500, 2)})
  assert float(jnp.abs(x).max()) <= 1.0


def test_it_learns():
  """On the points -1 and 1, where E[x0 | xt] = tanh(alpha xt / sigma^2), training comes near the least loss."""
  family = Diffusion(spec=Spec(shape=(1,), kind="vector"), net=TimeMLP(width=64, depth=1), optimizer=Optimizer(lr=3e-3))
  x = jnp.tile(jnp.array([[-1.0], [1.0]]), (64, 1))
  state = family.init(jax.random.key(0), {"x": x})
  step = jax.jit(family.step)
  for i in range(600):
    state, _ = step(jax.random.key(i), state, {"x": x})
  t = jnp.linspace(family.path.t_min, family.path.t_max, 12_800)
  x = jnp.tile(x, (100, 1))
  a, s = family.path.alpha(t)[:, None], family.path.sigma(t)[:, None]
  xt = family.path.perturb(jax.random.key(3), x, t)[0]
  loss = lambda x0: float(jnp.mean((a / s) ** 2 * (x0 - x) ** 2))
  least = loss(jnp.tanh(a * xt / s**2))
  assert 0.99 * least < loss(family.denoiser(state.eval_params)(t, xt)) < 1.15 * least


def test_bfloat16_loss_is_float32():
  family = Diffusion(spec=PLANE, net=TimeMLP(width=16, dtype="bfloat16"))
  state, batch = start(family)
  state, metrics = jax.jit(family.step)(jax.random.key(0), state, batch)
  assert metrics["loss"].dtype == jnp.float32
  assert {p.dtype for p in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
  "fields, message",
  (
    (dict(guidance=2.0), "label dropout"),
    (dict(guidance=2.0, conditions=("label",)), "label dropout"),
    (dict(label_dropout=0.1), "class-conditional"),
    (dict(label_dropout=1.5, conditions=("label",)), "should be in"),
    (dict(conditions=("lable",)), "did you mean 'label'"),
    (dict(steps=0), "at least 1"),
    (dict(spec=Spec(shape=(2,), kind="vector"), conditions=("label",)), "data with classes"),
  ),
)
def test_bad_input(fields, message):
  with pytest.raises(InputError, match=message):
    Diffusion(**{"spec": PLANE, **fields})


def test_labels_are_needed_where_none_were_ever_hidden():
  family = exact(conditions=("label",))
  state, _ = start(family)
  with pytest.raises(InputError, match="give cond"):
    family.sample(jax.random.key(0), state.params, 3)
