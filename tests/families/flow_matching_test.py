"""Flow matching around networks whose answers are known."""

import dataclasses
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import resolve
from gen_jax.errors import InputError
from gen_jax.families.flow_matching import FlowMatching
from gen_jax.family import HasBound, HasDenoiser, HasLogProb
from gen_jax.ops import gaussians
from gen_jax.ops.shapes import expand
from gen_jax.processes import bounds, coupling, gaussian
from gen_jax.solvers import grids, ode, sde
from gen_jax.types import Spec

PLANE = Spec(shape=(2,), kind="vector", classes=3)
STD = 0.5  # of the Gaussian data that the exact networks know


class Exact(nn.Module):
  """The velocity of the rectified path for N(0, STD^2) data; for pairs of equal sign if `straight`."""

  straight: bool = False
  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    self.param("unused", nn.initializers.zeros_init(), (1,))
    ratio = jnp.exp(4 * time)
    t = ratio / (1 + ratio)
    x = x * expand(jnp.sqrt((1 - t) ** 2 + t**2), x)  # as it is on the path: the network is given unit variance
    a, t = expand(1 - t, x), expand(t, x)
    slope = (1 - STD) / (a * STD + t) if self.straight else (t - a * STD**2) / ((a * STD) ** 2 + t**2)
    return slope * x


@dataclasses.dataclass(frozen=True)
class Trained:
  """What `run.load` gives, without a run."""

  family: FlowMatching
  params: dict


def exact(**kwargs):
  return FlowMatching(**{"spec": PLANE, "net": Exact(), **kwargs})


def start(family, num=8):
  batch = {"x": jnp.zeros((num, 2)), "label": jnp.zeros(num, jnp.int32)}
  return jax.jit(family.init)(jax.random.key(0), batch)


@pytest.fixture(scope="module")
def teacher():
  family = exact(solver=ode.rk4, steps=32)
  return Trained(family, start(family).params)


def test_config_builds_it():
  config = dict(name="flow_matching.FlowMatching", net=dict(name="mlp.TimeMLP", width=16), coupling="coupling.optimal")
  family = resolve.build("families", config, spec=PLANE)
  assert not family.coupling.independent and family.path.t_max == gaussian.rectified().t_max
  assert all(isinstance(family, capability) for capability in (HasDenoiser, HasLogProb, HasBound))


def test_loss_at_the_exact_velocity():
  """What remains is Var[eps - x0 | xt] = STD^2 / ((1 - t)^2 STD^2 + t^2), averaged over t: here by quadrature."""
  family, num = exact(), 100_000
  state, x = start(family), STD * jax.random.normal(jax.random.key(1), (num, 2))
  loss = jax.jit(lambda x: family.loss(state.params, state, jax.random.key(2), {"x": x})[0])(x)
  t = np.linspace(family.path.t_min, family.path.t_max, 10_001)
  np.testing.assert_allclose(loss, np.trapezoid(STD**2 / ((1 - t) ** 2 * STD**2 + t**2), t) / (t[-1] - t[0]), rtol=0.02)


def test_samples_and_densities_agree_with_the_data(teacher):
  family, num = teacher.family, 20_000
  x = jax.jit(family.sample, static_argnums=2)(jax.random.key(1), teacher.params, num)
  assert abs(float(x.std()) / STD - 1) < 0.02 and abs(float(x.mean())) < 0.015
  log_p = jax.jit(family.log_prob)(jax.random.key(2), teacher.params, x[:100])
  np.testing.assert_allclose(log_p, gaussians.log_prob(x[:100], 0.0, np.log(STD), axes=1), atol=0.02)


def test_optimal_pairs_have_straighter_paths():
  """Pairs of one batch: the examples are as they were, the noise is nearer, and a coupled loss is lower at its best."""
  family, x = exact(coupling=coupling.optimal()), STD * jax.random.normal(jax.random.key(1), (64, 2))
  state = start(family)
  batch, eps = jax.jit(family._pairs)(jax.random.key(2), state, {"x": x})
  assert (batch["x"] == x).all()
  assert float(jnp.square(eps - x).mean()) < 0.5 * float(
    jnp.square(jax.random.normal(jax.random.key(2), x.shape) - x).mean()
  )


def test_trailing_steps_are_eulers():
  """Three and the denoising: the last of four steps, to t = 0."""
  family = exact(solver=ode.euler, grid=grids.trailing(), steps=3)
  params, noise = start(family).params, family.path.prior(jax.random.key(1), (50, 2))
  x, ts = noise, np.append(np.linspace(family.path.t_max, family.path.t_min, 5)[:-1], 0.0)
  for t, s in itertools.pairwise(ts):
    x = x + (s - t) * (t - (1 - t) * STD**2) / (((1 - t) * STD) ** 2 + t**2) * x
  np.testing.assert_allclose(family.transport(jax.random.key(2), params, noise), x, rtol=1e-4, atol=1e-5)
  assert family.evaluations == 4


def test_reflow(teacher):
  """The flow of N(0, STD^2) takes eps to STD eps: the pairs say so, their paths are straight, and one step is exact."""
  family = exact(net=Exact(straight=True), teacher=teacher, pairs=600, solver=ode.euler, steps=1)
  state = start(family)
  made = state.extra["pairs"]
  assert made["x"].shape == made["eps"].shape == (600, 2)
  assert abs(float(made["eps"].std()) - 1) < 0.08
  np.testing.assert_allclose(made["x"], STD * made["eps"], atol=0.02)
  zeros = {"x": jnp.zeros((32, 2))}  # the batch is not read, but for its size
  loss, (_, extra) = jax.jit(lambda key: family.loss(state.params, state, key, zeros))(jax.random.key(1))
  assert float(loss) < 1e-3 and extra["pairs"] is not None
  noise = family.path.prior(jax.random.key(2), (100, 2))
  np.testing.assert_allclose(family.transport(jax.random.key(3), state.params, noise), STD * noise, atol=0.02)
  once = dataclasses.replace(family, grid=grids.trailing(), steps=0)
  np.testing.assert_allclose(once.transport(jax.random.key(3), state.params, noise), STD * noise, atol=0.02)
  assert (once.evaluations, family.evaluations) == (1, 2)
  state, metrics = jax.jit(family.step)(jax.random.key(4), state, zeros)
  assert (state.extra["pairs"]["x"] == made["x"]).all()
  assert metrics["endpoint_distance"] < 0.02
  assert family.report(jax.random.key(5), state.params, 20)["endpoint_distance"] < 0.02
  curved = exact(teacher=teacher, pairs=600, solver=ode.euler, steps=1)  # one step of it ends at the mean, 0
  assert float(start(curved).extra["endpoint_distance"]) == pytest.approx(STD, rel=0.1)
  assert exact().report(jax.random.key(5), state.params, 20) == {}


@pytest.mark.parametrize(
  "fields, message",
  (
    (dict(coupling=coupling.optimal(), solver=sde.euler_maruyama), "needs a score"),
    (dict(coupling=coupling.optimal(), likelihood=bounds.Continuous()), "independent pairs"),
    (dict(coupling=coupling.optimal(), conditions=("label",)), "tie the noise to the condition"),
  ),
)
def test_bad_input(fields, message):
  with pytest.raises(InputError, match=message):
    exact(**fields)


def test_teachers_that_do_not_fit(teacher):
  for changes, message in (
    (dict(solver=sde.euler_maruyama), "adds noise"),
    (dict(conditions=("label",)), "conditioned on"),
    (dict(spec=Spec(shape=(3,), kind="vector")), "shape"),
  ):
    with pytest.raises(InputError, match=message):
      exact(teacher=Trained(dataclasses.replace(teacher.family, **changes), teacher.params))


def test_a_missing_teacher_says_how_to_make_it(tmp_path):
  config = dict(name="flow_matching.FlowMatching", teacher=dict(name="load.load", workdir=str(tmp_path / "none")))
  with pytest.raises(InputError, match=f"train one with --config=.* --workdir={tmp_path}/none"):
    resolve.build("families", config, spec=PLANE)
