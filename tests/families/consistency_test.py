"""Consistency models on Gaussian data, whose consistency function is known."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.families.consistency import Consistency
from gen_jax.families.continuous_consistency import ContinuousConsistency
from gen_jax.families.diffusion import Diffusion
from gen_jax.families.distribution_matching import DistributionMatching
from gen_jax.families.vae import VAE
from gen_jax.families.vdm import VDM
from gen_jax.family import HasDenoiser, HasLogProb
from gen_jax.nets.mlp import TimeMLP
from gen_jax.ops import adversarial, distances
from gen_jax.ops.shapes import expand
from gen_jax.processes import consistency, gaussian, guidance, neighbours, prediction, times
from gen_jax.processes.adversary import Adversary
from gen_jax.solvers import edm, sde, semilinear
from gen_jax.steps import Optimizer
from gen_jax.types import Spec

PLANE = Spec(shape=(2,), kind="vector", classes=3)
STD = 0.5  # of the Gaussian data that the exact networks know
SMALL = TimeMLP(width=8, depth=1)
SPELLED = dict(name="gaussian.edm", sigma_max=80.0)  # the path of a run, in its config


class Table(nn.Module):
  """Outputs that are a known multiple of x at each noise level: factor(sigma / alpha) x."""

  factor: Any
  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    off = self.param("off", nn.initializers.zeros_init(), ())
    return expand(self.factor(jnp.exp(4 * time)) + off, x) * x


@dataclasses.dataclass(frozen=True)
class Trained:
  """What `run.load` gives, without a run."""

  family: Any
  params: Any
  config: Any = dataclasses.field(default_factory=lambda: ml_collections.ConfigDict({"family": {"path": SPELLED}}))


def exact_teacher(path):
  """The denoiser of N(0, STD^2): E[z | z + r eps] = STD^2 / (STD^2 + r^2) (z + r eps), for inputs of unit variance."""
  factor = lambda r: STD**2 / (STD**2 + r**2) * jnp.sqrt(1 + r**2)
  family = Diffusion(spec=PLANE, path=path, net=Table(factor), prediction=prediction.x0())
  return Trained(family, start(family).params)


def exact_student(path):
  """The estimate of the data with which a jump to t_min ends where the flow of N(0, STD^2) does."""
  least = path.sigma(jnp.asarray(path.t_min)) / path.alpha(jnp.asarray(path.t_min))

  def factor(r):
    end = jnp.sqrt((STD**2 + least**2) / (STD**2 + r**2))
    return (end - least / r) / (1 - least / r) * jnp.sqrt(1 + r**2)

  return dict(path=path, net=Table(factor), prediction=prediction.x0())


def start(family, num=8):
  batch = {"x": jnp.zeros((num, *family.spec.shape)), "label": jnp.zeros(num, jnp.int32)}
  return jax.jit(family.init)(jax.random.key(0), batch)


PATHS = {"edm": gaussian.edm(), "cosine": gaussian.cosine(), "rectified": gaussian.rectified()}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("kind", (Consistency, ContinuousConsistency))
def test_the_function_is_the_identity_at_the_start(kind, path):
  """For any parameters: these are random, and far from small."""
  family = kind(spec=PLANE, net=SMALL, path=path)
  params = jax.tree.map(lambda p: p + 3.0, start(family).params)
  x = jax.random.normal(jax.random.key(1), (50, 2))
  f = jax.jit(family.origin(params))
  np.testing.assert_array_equal(f(path.t_min, x), x)
  assert not np.allclose(f(2 * path.t_min, x), x, rtol=1e-3)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_the_exact_function_maps_the_flow_to_its_start(path):
  """Checks the oracle of the tests below against the solver: the path of one point, by Heun's method."""
  from gen_jax.solvers.base import integrate
  from gen_jax.solvers.grids import rho

  student = Consistency(spec=PLANE, **exact_student(path))
  teacher = exact_teacher(path)
  problem = path.problem(teacher.family.denoiser(teacher.params))
  x = path.sigma(jnp.asarray(path.t_max)) * jnp.array([[1.0, -0.3]])
  end = integrate(edm.heun, problem, jax.random.key(0), x, rho()(path, 200))
  np.testing.assert_allclose(student.origin(start(student).params)(path.t_max, x), end, rtol=1e-3)


@pytest.mark.parametrize(
  "solver, tolerance", [(edm.heun, 1e-6), (semilinear.dpmpp_2s(), 1e-6), (semilinear.ddim(), 1e-4)]
)
def test_distillation_has_no_loss_at_the_exact_function(solver, tolerance):
  """But for the solver's error, between levels that are near: and any change of the function has one."""
  path = gaussian.edm()
  teacher = exact_teacher(path)
  family = Consistency(
    spec=PLANE,
    **exact_student(path),
    teacher=teacher,
    solver=solver,
    neighbours=neighbours.levels(200),
    distance=distances.l2(),
  )
  state, x = start(family), STD * jax.random.normal(jax.random.key(1), (5000, 2))
  state = state.replace(extra={**state.extra, "target": state.params})
  loss = jax.jit(lambda params: family.loss(params, state, jax.random.key(2), {"x": x})[0])
  assert loss(state.params) < tolerance * STD**2
  assert loss(jax.tree.map(lambda p: p + 0.05, state.params)) > 1e-3 * STD**2


def test_training_without_a_teacher_has_no_slope_at_the_exact_function():
  """Its loss is not zero, but the exact function is where it is least as levels become dense."""
  path = gaussian.edm()
  family = Consistency(
    spec=PLANE, **exact_student(path), neighbours=neighbours.levels(400), distance=distances.l2(), target_decay=0.9
  )
  state, x = start(family), STD * jax.random.normal(jax.random.key(1), (200_000, 2))
  slope = jax.jit(jax.grad(lambda params: family.loss(params, state, jax.random.key(2), {"x": x})[0]))
  at = lambda off: float(jax.tree.leaves(slope(jax.tree.map(lambda p: p + off, state.params)))[0])
  assert abs(at(0.0)) < 0.1 * abs(at(0.01))
  assert at(-0.01) < 0 < at(0.01)


@pytest.mark.parametrize("taught", [True, False])
def test_the_tangent_vanishes_at_the_exact_function(taught):
  """f = z STD / sqrt(cos^2 STD^2 + sin^2) is constant along the flow: with the flow known, g is zero at every point."""
  path = gaussian.trigonometric()

  def output(r):  # F = (cos z - f) / sin
    s, c = r / jnp.sqrt(1 + r**2), 1 / jnp.sqrt(1 + r**2)
    return (c - STD / jnp.sqrt(c**2 * STD**2 + s**2)) / s

  teacher = exact_teacher(path) if taught else None
  family = ContinuousConsistency(spec=PLANE, path=path, net=Table(output), teacher=teacher, warmup=1)
  state, x = start(family), STD * jax.random.normal(jax.random.key(1), (20_000, 2))
  state = state.replace(step=jnp.int32(5))
  tangent = lambda params: family.loss(params, state, jax.random.key(2), {"x": x})[1][0]["tangent"]
  off = {**state.params, "params": {"off": jnp.asarray(0.05)}}
  if taught:
    assert tangent(state.params) < 1e-4
    assert tangent(off) > 1e-2
  else:
    assert tangent(state.params) > 0.1  # the noise of one pair of data and noise


@pytest.mark.parametrize("predict, sd, sign", [(prediction.v(), 1.0, 1), (prediction.edm(0.7), 0.7, -1)])
def test_continuous_training_moves_towards_the_exact_function(predict, sd, sign):
  """Without a teacher the tangent is noise around zero: the slope of the loss changes sign at the exact function."""
  path = gaussian.edm()

  def output(r):  # F = (cos z - f) / sin in units of sigma_data
    s, c = r / jnp.sqrt(sd**2 + r**2), sd / jnp.sqrt(sd**2 + r**2)
    f = (STD / sd) / jnp.sqrt(c**2 * (STD / sd) ** 2 + s**2)
    return sign * (c - f) / s

  family = ContinuousConsistency(spec=PLANE, path=path, net=Table(output), prediction=predict, warmup=1)
  state, x = start(family), STD * jax.random.normal(jax.random.key(1), (200_000, 2))
  state = state.replace(step=jnp.int32(5))
  loss = lambda p: family.loss({**state.params, "params": {"off": p}}, state, jax.random.key(2), {"x": x})[0]
  slope = jax.jit(jax.grad(loss))
  assert slope(-0.05) < 0 < slope(0.05)
  assert abs(slope(0.0)) < 0.2 * abs(slope(0.05))


def test_continuous_training_near_pure_noise():
  """Where the share of data in what the network sees has no digits as the root of one minus that of noise."""
  family = ContinuousConsistency(
    spec=PLANE,
    path=gaussian.ve(sigma_max=1348),
    net=SMALL,
    prediction=prediction.edm(0.25),
    times=times.lognormal(7, 1),
  )
  state = start(family)
  batch = {"x": 0.25 * jax.random.normal(jax.random.key(1), (256, 2))}
  slopes, (metrics, _) = jax.jit(jax.grad(family.loss, has_aux=True))(state.params, state, jax.random.key(2), batch)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((slopes, metrics)))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_samples_have_the_spread_of_the_data(steps):
  family = Consistency(spec=PLANE, **exact_student(gaussian.edm()), steps=steps)
  x = jax.jit(family.sample, static_argnums=2)(jax.random.key(1), start(family).params, 20_000)
  assert family.evaluations == steps
  np.testing.assert_allclose(np.std(x), STD, rtol=5 / np.sqrt(2 * x.size))


def test_a_target_is_the_average_of_its_student():
  family = Consistency(spec=PLANE, net=SMALL, target_decay=0.5)
  state = start(family)
  x = jax.random.normal(jax.random.key(1), (8, 2))
  new, _ = jax.jit(family.step)(jax.random.key(2), state, {"x": x})
  expected = jax.tree.map(lambda a, b: (a + b) / 2, state.extra["target"], new.params)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), new.extra["target"], expected)


def test_endpoints_are_those_of_the_teacher():
  """At the exact function little is left but the error of 18 steps of Heun's method; it is compared every so often."""
  path = gaussian.edm()
  family = Consistency(spec=PLANE, **exact_student(path), teacher=exact_teacher(path), probe_every=2)
  state = start(family)
  assert state.extra["endpoint_distance"] < 0.1 * STD
  assert state.extra["probe"]["noise"].shape == (64, 2)
  moved = state.replace(ema=jax.tree.map(lambda p: p + 1.0, state.ema), step=jnp.int32(3))
  _, metrics = family.probe(moved)
  assert metrics["endpoint_distance"] == state.extra["endpoint_distance"]
  changed, _ = family.probe(moved.replace(step=jnp.int32(4)))
  assert changed.extra["endpoint_distance"] > 0.1


def test_editing_keeps_what_is_known_and_fills_in_the_rest():
  """The exact function of correlated data: given one coordinate, the other is drawn from its conditional.

  x ~ N(0, [[1, .8], [.8, 1]]) is a = u (1, 1) / sqrt 2 + v (1, -1) / sqrt 2 with variances 1.8 and .2, along which the
  flow scales as it does for each. Refining at one small level t, with the first coordinate put back, is a chain of
  Langevin dynamics with steps of t^2, whose law has the conditional mean .8 y but for a term of order t^2.
  """
  path, axes, variances = gaussian.edm(), np.array([[1, 1], [1, -1]]) / np.sqrt(2), np.array([1.8, 0.2])

  def f(t, x):
    scales = jnp.sqrt((variances + path.t_min**2) / (variances + t**2))
    return (x @ axes * scales) @ axes

  y = jnp.array([1.5, 0.0]) * jnp.ones((20_000, 1))
  mask = lambda x: x * jnp.array([1.0, 0.0])
  fix = consistency.known(mask, y)
  ts = jnp.full(600, 0.1)
  x = jax.jit(lambda key: consistency.refine(key, f, path, jnp.zeros_like(y), ts, fix))(jax.random.key(0))
  np.testing.assert_allclose(x[:, 0], 1.5, rtol=1e-5)
  assert np.mean(x[:, 1]) == pytest.approx(0.8 * 1.5, abs=0.03)
  free = jax.jit(lambda key: consistency.refine(key, f, path, jnp.zeros_like(y), ts))(jax.random.key(0))
  assert abs(np.mean(free[:, 1])) < 0.03


def test_without_a_teacher_samples_are_compared_with_the_run_that_training_started_from():
  """The ends of the trajectories are the same as those of a teacher, and so is the report."""
  path = gaussian.edm()
  run = exact_teacher(path)
  fields = dict(spec=PLANE, net=run.family.net, path=path, prediction=prediction.x0())
  tuned, taught = Consistency(**fields, start=run), Consistency(**fields, start=run, teacher=run)
  np.testing.assert_array_equal(start(tuned).extra["probe"]["end"], start(taught).extra["probe"]["end"])
  assert "teacher" not in start(tuned).extra
  key, params = jax.random.key(1), start(tuned).params
  found, expected = (family.report(key, params, 20) for family in (tuned, taught))
  assert {"endpoint_distance", "consistency_errors"} <= found.keys() == expected.keys()
  for name, value in found.items():
    np.testing.assert_array_equal(value, expected[name])


def test_a_teacher_on_another_path_is_asked_where_its_noise_is_the_same():
  """What it says of N(0, STD^2) is the expectation on the student's path; on a learned path it says something, too."""
  path = gaussian.rectified(t_min=0.01, t_max=0.98)
  family = Consistency(spec=PLANE, net=SMALL, path=path, teacher=exact_teacher(gaussian.edm()))
  t, x = jnp.array([0.02, 0.3, 0.9]), jnp.array([[1.0, -2.0], [0.5, 0.1], [0.3, 2.0]])
  a, s = expand(path.alpha(t), x), expand(path.sigma(t), x)
  told = jax.jit(lambda params: family.teach({"teacher": params}, None)(t, x))(family.teacher.params)
  np.testing.assert_allclose(told, a * STD**2 / ((a * STD) ** 2 + s**2) * x, rtol=1e-4)
  learned = VDM(spec=PLANE, net=SMALL)
  run = Trained(learned, start(learned).params)
  student = Consistency(spec=PLANE, net=SMALL, path=gaussian.cosine(t_min=2e-3, t_max=0.98), teacher=run)
  _, metrics = jax.jit(student.step)(jax.random.key(0), start(student), {"x": jnp.ones((8, 2))})
  assert np.isfinite(metrics["loss"]) and metrics["endpoint_distance"] > 0


@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_the_nearest_image_with_known_means(offset):
  """Means of pairs: each entry moves by the error of its mean, wherever they are counted from."""
  means = lambda x: x.reshape(len(x), 2, 2).mean(-1) + offset
  fixed = consistency.known(means, jnp.array([[1.0, 3.0]]) + offset)(jnp.array([[0.0, 1.0, 2.0, 2.0]]))
  np.testing.assert_allclose(fixed, [[0.5, 1.5, 3.0, 3.0]], rtol=1e-6)


def test_the_report_knows_how_far_off_a_function_is():
  """For the exact function only the solver's error is left; one shifted by c at every level is c off, but at t_min."""
  path = gaussian.edm()
  family = Consistency(spec=PLANE, **exact_student(path), teacher=exact_teacher(path))
  params = start(family).params
  report = jax.jit(lambda params: family.report(jax.random.key(1), params, 500))
  exact = report(params)
  assert exact["consistency_error"] < 0.05 * STD and exact["endpoint_distance"] < 0.1 * STD
  shapes = {exact[name].shape for name in ("noise_levels", "endpoint_distances", "consistency_errors")}
  assert shapes == {(19,)}
  off = report(jax.tree.map(lambda p: p + 0.5, params))
  np.testing.assert_allclose(off["endpoint_distance"], 0.5, rtol=0.1)  # off times an input of unit variance
  assert off["endpoint_distances"][-1] == 0 and off["consistency_error"] > 3 * exact["consistency_error"]
  np.testing.assert_allclose(jnp.square(off["consistency_errors"]).mean() ** 0.5, off["consistency_error"], rtol=1e-5)
  assert off["consistency_errors"].argmax() == 18  # the one level at which it is not off is the farthest from the mean
  assert Consistency(spec=PLANE, **exact_student(path)).report(jax.random.key(1), params, 5) == {}


class Slope(nn.Module):
  """A logit w x, summed over the coordinates."""

  out: tuple = ()

  @nn.compact
  def __call__(self, x):
    return x @ self.param("w", nn.initializers.constant(0.5), (2,))


def contested(weight=1.0, lr=0.1):
  """A student that maps everything to about zero, the teacher's average being elsewhere, and a linear adversary."""
  opponent = Adversary(net=Slope(), game=adversarial.wasserstein, optimizer=Optimizer(rule="sgd", lr=lr, b1=0.0))
  family = Consistency(
    spec=PLANE,
    path=gaussian.edm(),
    net=Table(lambda r: 0.0 * r),
    prediction=prediction.x0(),
    distance=distances.l2(),
    adversary=opponent,
    adversarial_weight=weight,
    target_decay=0.9,
    optimizer=Optimizer(rule="sgd", lr=0.0),
  )
  state, x = start(family), jax.random.normal(jax.random.key(1), (64, 2))
  away = jax.tree.map(lambda p: p + 0.3, state.params)
  return family, state.replace(extra={**state.extra, "target": away}), {"x": x + jnp.array([2.0, -1.0])}


def test_the_game_moves_a_student_as_far_as_its_distance_does():
  """At the estimates, of which the linear adversary's gradient is -w / B: with a weight, so many times as far."""
  family, state, batch = contested(weight=3.0)
  loss = lambda p, key=jax.random.key(2): family.loss(p, state, key, batch)
  (_, (metrics, extra)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
  part = lambda name: jax.grad(lambda p: loss(p)[1][0][name])(state.params)
  expected = jax.tree.map(lambda e, c: e + metrics["weight"] * c, part("error"), part("caught"))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), grads, expected)
  np.testing.assert_allclose(metrics["caught"], -0.5 * extra["estimate"].sum(-1).mean(), rtol=1e-5)
  # |grad of error| = |a - b| / B = sqrt(2 error / B), and |grad of caught| = |w| / sqrt(B) with |w|^2 = 1/2
  np.testing.assert_allclose(metrics["weight"], 3 * np.sqrt(2 * metrics["error"] / 0.5), rtol=1e-5)
  again, _ = jax.jit(family.step)(jax.random.key(2), state, batch)
  assert jax.tree.structure(again) == jax.tree.structure(state), "estimates are not kept"


def test_an_adversary_learns_from_data_and_from_estimates():
  """Of the Wasserstein game w moves by lr (mean of data - mean of estimates)."""
  family, state, batch = contested(lr=0.1)
  state = state.replace(params=state.extra["target"])  # whose estimates are not zero
  estimate = family.loss(state.params, state, jax.random.key(2), batch)[1][1]["estimate"]
  new, metrics = jax.jit(family.step)(jax.random.key(2), state, batch)
  w = new.extra["adversary"]["params"]["params"]["w"]
  assert np.abs(estimate.mean(0)).max() > 0.1
  np.testing.assert_allclose(w, 0.5 + 0.1 * (batch["x"].mean(0) - estimate.mean(0)), rtol=1e-4)
  assert metrics["fake"] == pytest.approx(0.5 * float(estimate.sum(-1).mean()), rel=1e-4)
  assert metrics["real"] == pytest.approx(0.5 * float(batch["x"].sum(-1).mean()), rel=1e-5)
  assert int(new.extra["adversary"]["turns"]) == 1
  jax.tree.map(np.testing.assert_array_equal, new.params, state.params)


def test_conditions_reach_teacher_and_student():
  teacher = Diffusion(spec=PLANE, net=SMALL, conditions=("label",), path=gaussian.edm(), prediction=prediction.edm())
  params = jax.tree.map(lambda p: p + 0.1, start(teacher).params)
  run = Trained(teacher, params)
  family = Consistency(spec=PLANE, net=SMALL, conditions=("label",), teacher=run, start=run)
  state = start(family)
  batch = {"x": jnp.ones((8, 2)), "label": jnp.arange(8) % 3}
  loss = lambda label: family.loss(state.params, state, jax.random.key(1), {**batch, "label": label})[0]
  assert loss(batch["label"]) != loss(jnp.zeros(8, jnp.int32))
  jax.tree.map(np.testing.assert_array_equal, state.params, params)


def test_the_guide_of_a_teacher_is_in_the_state():
  """And not in the program: training goes on from what was saved, whatever the guide's folder then holds."""
  on = dict(spec=PLANE, net=SMALL, path=gaussian.edm(), prediction=prediction.edm())
  plain = Diffusion(**on)
  worse, better = (jax.tree.map(lambda p, by=by: p + by, start(plain).params) for by in (0.1, 0.3))
  teacher = Diffusion(**on, guidance=guidance.Auto(guide=Trained(plain, worse)))
  family = Consistency(spec=PLANE, net=SMALL, teacher=Trained(teacher, better), probes=0)
  state, batch = start(family), {"x": jnp.ones((8, 2))}
  jax.tree.map(np.testing.assert_array_equal, state.extra["guide"], worse)
  step = jax.make_jaxpr(family.step)(jax.random.key(0), state, batch)
  assert sum(np.size(const) for const in step.consts) < 100 < sum(p.size for p in jax.tree.leaves(worse))
  t, x = jnp.array(0.5), jnp.ones((4, 2))
  taught = family.teach(state.extra, None)(t, x)
  np.testing.assert_allclose(taught, teacher.denoiser(better)(t, x), rtol=1e-5)
  unguided = family.teach({**state.extra, "guide": better}, None)(t, x)  # by the teacher itself: away from nothing
  np.testing.assert_allclose(unguided, plain.denoiser(better)(t, x), rtol=1e-5)
  assert np.abs(taught - unguided).max() > 1e-3


def test_starts_from_another_student():
  """Where there is a teacher to ask: a student itself has no denoiser."""
  on = dict(spec=PLANE, net=SMALL, path=gaussian.edm(), prediction=prediction.edm())
  teacher, student = Diffusion(**on), Consistency(**on)
  moved = jax.tree.map(lambda p: p + 0.1, start(student).params)
  run = Trained(teacher, start(teacher).params)
  for family in (Consistency, DistributionMatching):
    known = start(family(**on, teacher=run, start=Trained(student, moved)))
    jax.tree.map(np.testing.assert_array_equal, known.params, moved)
  jax.tree.map(np.testing.assert_array_equal, known.extra["critic"]["params"], run.params)
  with pytest.raises(InputError, match=r"start: Consistency has no denoiser.*or set a teacher"):
    Consistency(**on, start=Trained(student, moved))


def test_it_claims_no_likelihood_and_no_denoiser():
  family = Consistency(spec=PLANE, net=SMALL)
  assert not isinstance(family, HasLogProb) and not isinstance(family, HasDenoiser)


def test_what_cannot_be_distilled_is_refused():
  path, run = gaussian.edm(), exact_teacher(gaussian.edm())
  student = exact_student(path)
  image = Spec(shape=(4, 4, 1), kind="image", levels=16)
  with pytest.raises(InputError, match="VAE has no denoiser"):
    Consistency(spec=image, teacher=Trained(VAE(spec=image), {}))
  with pytest.raises(InputError, match="shape"):
    Consistency(spec=image, path=path, teacher=run)
  with pytest.raises(
    InputError, match=r"noise levels sigma / alpha from 0\.002 to 80, this one's are from 0\.0\d+ to 12\d"
  ):
    Consistency(spec=PLANE, path=gaussian.cosine(), teacher=run)
  with pytest.raises(InputError, match=r"its path is another: set path.name=gaussian\.edm, path.sigma_max=80\.0"):
    Consistency(spec=PLANE, path=gaussian.cosine(t_max=0.98), start=run)
  with pytest.raises(InputError, match="conditioned"):
    Consistency(spec=PLANE, **student, conditions=("label",), teacher=run)
  with pytest.raises(InputError, match="predicts something else"):
    Consistency(spec=PLANE, net=student["net"], path=path, prediction=prediction.v(), start=run)
  with pytest.raises(InputError, match="other parameters"):
    Consistency(spec=PLANE, net=SMALL, path=path, prediction=prediction.x0(), start=run)
  for solver in (sde.euler_maruyama, semilinear.dpmpp_2m):
    with pytest.raises(InputError, match="single step"):
      Consistency(spec=PLANE, **student, solver=solver)
  with pytest.raises(InputError, match=r"prediction.v or prediction.edm"):
    ContinuousConsistency(spec=PLANE, net=SMALL, prediction=prediction.eps())
