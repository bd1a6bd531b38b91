"""What families that sample in a few steps learn of Gaussian data, where it is known."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.families.consistency import Consistency
from gen_jax.families.diffusion import Diffusion
from gen_jax.families.distribution_matching import DistributionMatching
from gen_jax.families.flow_matching import FlowMatching
from gen_jax.families.mean_flow import MeanFlow
from gen_jax.families.progressive import Progressive
from gen_jax.families.shortcut import Shortcut
from gen_jax.families.vdm import VDM
from gen_jax.nets.mlp import MLP, TimeMLP
from gen_jax.ops.shapes import expand
from gen_jax.processes import coupling, gaussian, guidance, prediction, weighting
from gen_jax.processes.times import importance, levels
from gen_jax.solvers.grids import linear, rho, times
from gen_jax.steps import Optimizer
from gen_jax.types import Spec

PLANE = Spec(shape=(2,), kind="vector", classes=3)
STD = 0.5  # of the Gaussian data that the exact networks know
SMALL = TimeMLP(width=8, depth=1)


class Linear(nn.Module):
  """A known multiple of x: (factor(time) + off) x, the parameter `off` being zero."""

  factor: Any
  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    off = self.param("off", nn.initializers.zeros_init(), ())
    return expand(self.factor(time) + off, x) * x


@dataclasses.dataclass(frozen=True)
class Trained:
  """What `run.load` gives, without a run."""

  family: Any
  params: Any


def average_velocity(time):
  """The flow of N(0, STD^2) scales x by std(t - h) / std(t), std(t)^2 = (1 - t)^2 STD^2 + t^2."""
  t, h = time[:, 0], time[:, 1]
  variance = lambda t: (1 - t) ** 2 * STD**2 + t**2
  slope = (t - (1 - t) * STD**2) / variance(t)  # d/dt log std
  jump = -jnp.expm1((jnp.log(variance(t - h)) - jnp.log(variance(t))) / 2) / jnp.maximum(h, 1e-3)
  return jnp.where(h < 1e-3, slope, jump)


def start(family, num=8):
  batch = {"x": jnp.zeros((num, *family.spec.shape)), "label": jnp.zeros(num, jnp.int32)}
  return jax.jit(family.init)(jax.random.key(0), batch)


def data(num):
  return {"x": STD * jax.random.normal(jax.random.key(1), (num, 2))}


@pytest.mark.parametrize("kind", [Shortcut, MeanFlow])
@pytest.mark.parametrize("steps", [1, 4])
def test_any_number_of_exact_jumps_gives_the_data(kind, steps):
  family = kind(spec=PLANE, net=Linear(average_velocity), steps=steps)
  x = jax.jit(family.sample, static_argnums=2)(jax.random.key(2), start(family).params, 20_000)
  assert family.evaluations == steps
  np.testing.assert_allclose(np.std(x), STD, rtol=5 / np.sqrt(2 * x.size))


def test_a_shortcut_agrees_with_two_of_half_its_length():
  """The smallest jumps are of the velocity, which is exact in the limit."""
  family = Shortcut(spec=PLANE, net=Linear(average_velocity), share=0.5, finest=1024)
  state = start(family)
  loss = jax.jit(lambda params: family.loss(params, state, jax.random.key(2), data(20_000))[1][0]["jumps"])
  assert loss(state.params) < 1e-6
  assert loss(jax.tree.map(lambda p: p + 0.1, state.params)) > 1e-3


def test_shortcuts_have_lengths_and_starts_that_fit_the_way():
  seen = {}

  def factor(time):
    seen["time"] = time
    return jnp.zeros(len(time))

  family = Shortcut(spec=PLANE, net=Linear(factor), share=0.5, finest=8)
  state = start(family)
  with jax.disable_jit():
    family.loss(state.params, state, jax.random.key(2), data(400))
  t, h = np.asarray(seen["time"]).T
  assert set(np.unique(h[:200])) == {1.0, 0.5, 0.25} and (h[200:] == 0).all()
  assert np.allclose(t[:200] / h[:200] % 1, 0) and (t[:200] >= h[:200]).all() and (t <= 1).all()


def test_the_smallest_shortcut_is_the_velocity():
  """Nothing else is ever asked than what was trained: 0 and lengths of two pieces and more."""
  asked = []

  def factor(time):
    asked.extend(np.asarray(time[:, 1]).tolist())
    return jnp.zeros(len(time))

  family = Shortcut(spec=PLANE, net=Linear(factor), share=0.5, finest=8, steps=8)
  with jax.disable_jit():
    state = start(family)
    family.loss(state.params, state, jax.random.key(2), data(400))
    assert set(asked) == {0.0, 0.25, 0.5, 1.0}
    asked.clear()
    family.transport(state.params, jnp.ones((2, 2)))
  assert set(asked) == {0.0}
  one = Shortcut(spec=PLANE, net=SMALL, share=0.9)
  assert np.isfinite(one.loss(start(one).params, start(one), jax.random.key(2), data(4))[0])


@pytest.mark.parametrize("family", [Shortcut, MeanFlow, Consistency])
def test_labels_are_needed(family):
  family = family(spec=PLANE, net=SMALL, conditions=("label",))
  with pytest.raises(InputError, match="give cond"):
    family.sample(jax.random.key(0), start(family).params, 3)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_mean_flow_has_no_slope_at_the_exact_average(share):
  """Its target is noisy, with the right mean: for plain squared errors the exact average is where the loss is least."""
  family = MeanFlow(spec=PLANE, net=Linear(average_velocity), share=share, power=0.0)
  state, batch = start(family), data(400_000)
  slope = jax.jit(jax.grad(lambda params: family.loss(params, state, jax.random.key(2), batch)[0]))
  at = lambda off: float(jax.tree.leaves(slope(jax.tree.map(lambda p: p + off, state.params)))[0])
  assert at(-0.05) < 0 < at(0.05)
  assert abs(at(0.0)) < 0.1 * abs(at(0.05))


def ddim_teacher(path):
  factor = lambda time: STD**2 / (STD**2 + jnp.exp(8 * time)) * jnp.sqrt(1 + jnp.exp(8 * time))
  family = Diffusion(spec=PLANE, path=path, net=Linear(factor), prediction=prediction.x0())
  return Trained(family, start(family).params)


def test_progressive_distillation_does_two_steps_in_one():
  """On edm's path, DDIM multiplies z by m = (r' / r) + (1 - r' / r) STD^2 / (STD^2 + r^2) from r to r'."""
  path = gaussian.edm(sigma_max=10.0)
  teacher = ddim_teacher(path)
  ts = np.array([10.0, 1.0, 0.002])
  keep = ts[1:] / ts[:-1]
  m = np.prod(keep + (1 - keep) * STD**2 / (STD**2 + ts[:-1] ** 2))
  whole = ts[2] / ts[0]
  answer = (m - whole) / (1 - whole)  # the estimate of the data, over z, with which one step gets there

  def right(time):
    r = jnp.exp(4 * time)
    return jnp.where(r > 9.9, answer * jnp.sqrt(1 + r**2), 0.0)

  family = Progressive(
    spec=PLANE,
    path=path,
    net=Linear(right),
    prediction=prediction.x0(),
    teacher=teacher,
    grid=times(tuple(float(t) for t in ts)),
    rounds=1,
  )
  state = start(family)
  loss = jax.jit(lambda params: family.loss(params, state, jax.random.key(2), data(1000))[0])
  assert loss(state.params) < 1e-8
  assert loss(jax.tree.map(lambda p: p + 0.01, state.params)) > 1e-6
  noise = jnp.array([[5.0, -3.0]])
  np.testing.assert_allclose(family.transport(jax.random.key(0), state.params, noise), m * noise, rtol=1e-4)


def test_a_teacher_that_learned_its_uncertainty_is_distilled():
  teacher = Diffusion(spec=PLANE, net=SMALL, path=gaussian.cosine(), uncertainty=MLP(width=4))
  family = Progressive(spec=PLANE, net=SMALL, teacher=Trained(teacher, start(teacher).params), rounds=2, round_steps=1)
  state, metrics = jax.jit(family.step)(jax.random.key(0), start(family), data(8))
  assert np.isfinite(metrics["loss"]) and set(state.extra["teacher"]) == set(state.params)


def test_a_teacher_that_learned_its_path_is_refused():
  teacher = VDM(spec=PLANE, net=SMALL)
  path = gaussian.cosine(t_min=2e-3, t_max=0.98)  # within the noise levels of the other
  with pytest.raises(InputError, match="VDM learns its path"):
    Progressive(spec=PLANE, net=SMALL, path=path, teacher=Trained(teacher, start(teacher).params))


def test_rounds_halve_the_steps_and_hand_on_the_student():
  net = TimeMLP(width=8, depth=1)
  path = gaussian.cosine()
  teacher = Diffusion(spec=PLANE, net=net, path=path)
  run = Trained(teacher, jax.tree.map(lambda p: p + 0.1, start(teacher).params))
  family = Progressive(spec=PLANE, net=net, teacher=run, rounds=2, round_steps=2, ema_decay=None)
  state, step = start(family), jax.jit(family.step)
  jax.tree.map(np.testing.assert_array_equal, state.params, run.params)
  seen = []
  for n in range(6):
    state, metrics = step(jax.random.key(n), state, data(16))
    same = jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), state.extra["teacher"], state.params))
    seen.append((int(metrics["stride"]), same))
  assert seen == [(1, False), (1, True), (2, False), (2, False), (2, False), (2, False)]


def test_a_student_is_not_guided_twice():
  """The first teacher is guided; those that follow were taught by it and have its guidance in them."""
  path = gaussian.cosine()
  options = dict(spec=PLANE, net=SMALL, conditions=("label",), cond_dropout=0.1, path=path)
  plain = Diffusion(**options)
  guided = Diffusion(**options, guidance=guidance.classifier_free(weight=3.0))
  params = jax.tree.map(
    lambda p: p + 0.1 * jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), start(plain).params
  )
  batch = {**data(16), "label": jnp.arange(16) % 3}
  losses = {}
  for name, teacher in {"plain": plain, "guided": guided}.items():
    family = Progressive(
      spec=PLANE, net=SMALL, path=path, conditions=("label",), teacher=Trained(teacher, params), rounds=2, round_steps=5
    )
    state = start(family)
    loss = jax.jit(
      lambda step, family=family, state=state: family.loss(
        state.params, state.replace(step=step), jax.random.key(1), batch
      )[0]
    )
    losses[name] = [float(loss(jnp.int32(step))) for step in (0, 5)]
  assert losses["plain"][0] != losses["guided"][0]
  assert losses["plain"][1] == losses["guided"][1]


class Normal(nn.Module):
  """The denoiser of N(0, std^2) on edm's path, for inputs of unit variance; the parameter is std."""

  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    std = self.param("std", nn.initializers.constant(STD), ())
    r = jnp.exp(4 * time)
    return expand(std**2 / (std**2 + r**2) * jnp.sqrt(1 + r**2), x) * x


def matching(net=Normal(), path=gaussian.edm(sigma_max=2.0), **options):
  """Distribution matching along a path; by default with the teacher of N(0, STD^2)."""
  common = dict(spec=PLANE, path=path, net=net, prediction=prediction.x0(), ema_decay=None)
  teacher = Diffusion(**common)
  return DistributionMatching(**{**common, "teacher": Trained(teacher, start(teacher).params)} | options)


def std(value):
  return {"params": {"std": jnp.float32(value)}}


@pytest.mark.parametrize("path", [gaussian.edm(sigma_min=0.5, sigma_max=2.0), gaussian.cosine(t_min=0.5)])
def test_a_generator_steps_by_the_difference_of_two_denoisers(path):
  """At one time, t_min, of any path: by the gap over the mean distance to the teacher's estimate, where it is far."""
  r = float(path.sigma(jnp.asarray(path.t_min)) / path.alpha(jnp.asarray(path.t_min)))
  top = float(path.sigma(jnp.asarray(path.t_max)) / path.alpha(jnp.asarray(path.t_max)))
  wide = 2 * np.sqrt(top)
  family, key = matching(path=path, times=levels(1)), jax.random.key(3)
  state = start(family)
  state = state.replace(extra={**state.extra, "critic": {**state.extra["critic"], "params": std(0.1)}})
  _, (metrics, extra) = jax.jit(lambda params: family.loss(params, state, key, data(50_000)))(std(wide))
  x = np.asarray(extra["fake"], np.float64)
  np.testing.assert_allclose(x.std(), top * wide**2 / (wide**2 + top**2), rtol=0.02)
  shrink = lambda s: s**2 / (s**2 + r**2)
  xt = x + r * np.asarray(jax.random.normal(jax.random.split(key, 3)[2], x.shape), np.float64)  # over alpha
  gap = (shrink(0.1) - shrink(STD)) * xt
  np.testing.assert_allclose(metrics["gap"], np.sqrt(np.mean(gap**2)), rtol=1e-3)

  # The loss is the mean of step^2 / 2; its slope in the generator's one parameter is the mean of step dx/dstd.
  step = gap / np.abs(x - shrink(STD) * xt).mean(-1, keepdims=True)
  keep = np.abs(step).max(-1) < 10  # where the sample is not what the teacher takes it for
  assert keep.mean() > 0.9
  noise = x * (wide**2 + top**2) / wide**2
  slope = 2 * wide * top**2 / (wide**2 + top**2) ** 2 * noise
  found = jax.jit(jax.grad(lambda params: family.loss(params, state, key, data(50_000))[0]))(std(wide))
  np.testing.assert_allclose(found["params"]["std"], np.mean(step * slope), rtol=0.02)


@pytest.mark.parametrize("wide", [0.5, 2.0])
def test_a_generator_whose_samples_spread_wrongly_is_pushed_to_the_teacher(wide):
  """With a critic that knows its samples, whose std is top s^2 / (s^2 + top^2); the slope is 0 where that is STD."""
  family, top = matching(), 2.0
  right = top * np.sqrt(STD / (top - STD))
  slope = {}
  for name, s in {"right": right, "wrong": wide * right}.items():
    made = top * s**2 / (s**2 + top**2)
    state = start(family)
    state = state.replace(extra={**state.extra, "critic": {**state.extra["critic"], "params": std(made)}})
    loss = lambda params, state=state: family.loss(params, state, jax.random.key(4), data(20_000))[0]
    slope[name] = float(jax.jit(jax.grad(loss))(std(s))["params"]["std"])
  assert np.sign(slope["wrong"]) == np.sign(wide - 1)
  assert abs(slope["right"]) < 1e-3 * abs(slope["wrong"])


@pytest.mark.parametrize("make", [DistributionMatching, Consistency])
def test_samples_are_compared_with_the_ends_of_trajectories_only_where_asked(make):
  on = dict(spec=PLANE, net=SMALL, path=gaussian.edm(), prediction=prediction.edm())
  teacher = Diffusion(**on)
  run = Trained(teacher, start(teacher).params)
  for probes in (0, 4):
    family = make(**on, teacher=run, probes=probes)
    state = start(family)
    report = family.report(jax.random.key(5), state.params, 8)
    kept = state.extra.keys() & {"probe", "endpoint_distance"}
    assert ("endpoint_distance" in report, len(kept)) == ((True, 2) if probes else (False, 0))


def test_the_critic_learns_the_samples_of_the_generator_and_not_the_data():
  """Its loss has no slope where its std is that of the samples, and the batch is anything."""
  family = matching(weight=weighting.x0())
  made = {"x": 0.3 * jax.random.normal(jax.random.key(1), (200_000, 2))}
  slope = jax.jit(jax.grad(lambda params: family._critic_loss(params, jax.random.key(2), made)))
  at = lambda s: float(slope(std(s))["params"]["std"])
  assert at(0.25) < 0 < at(0.35) and abs(at(0.3)) < 0.05 * at(0.35)
  rule = dict(rule="sgd", b1=0.0)
  family = matching(
    weight=weighting.x0(),
    optimizer=Optimizer(lr=0.0, **rule),
    critic_optimizer=Optimizer(lr=0.5, **rule),
    start=Trained(matching().teacher.family, std(0.5)),
  )
  state, step = start(family), jax.jit(family.step)
  for n in range(300):
    state, _ = step(jax.random.key(n), state, {"x": 7 * jnp.ones((256, 2))})
  np.testing.assert_allclose(state.extra["critic"]["params"]["params"]["std"], 2 * 0.25 / 4.25, rtol=0.05)
  assert "fake" not in state.extra


def test_the_teacher_is_guided_and_the_critic_is_not():
  """Guidance changes where samples go; for a critic that knows what the teacher does, without it they stay."""
  path = gaussian.cosine()
  options = dict(spec=PLANE, net=SMALL, conditions=("label",), cond_dropout=0.1, path=path)
  plain = Diffusion(**options)
  params = jax.tree.map(
    lambda p: p + 0.1 * jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), start(plain).params
  )
  batch, gap = {**data(64), "label": jnp.arange(64) % 3}, {}
  for weight in (1.0, 3.0):
    teacher = Diffusion(**options, guidance=guidance.classifier_free(weight=weight))
    family = DistributionMatching(spec=PLANE, net=SMALL, conditions=("label",), teacher=Trained(teacher, params))
    state = start(family)
    gap[weight] = float(family.loss(state.params, state, jax.random.key(1), batch)[1][0]["gap"])
    other = {**batch, "label": 2 - batch["label"]}
    fake = [family._generate(state.params, jax.random.key(2), b) for b in (batch, other)]
    assert not np.allclose(*fake)
  assert gap[1.0] < 1e-6 < 1e-3 < gap[3.0]


class Witness(nn.Module):
  """Takes everything for zeros, and notes the noise level that it was told and the one that there is."""

  note: Any
  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    off = self.param("off", nn.initializers.zeros_init(), ())
    if not isinstance(x, jax.core.Tracer):
      r = float(jnp.exp(4 * time)[0])
      self.note((r, float(x.std() * jnp.sqrt(1 + r**2))))
    return off * x


def test_every_step_of_the_sampler_is_trained_from_those_before_it():
  """Noise of 4 is denoised, noise of 2 is added and removed, then of 1: as many of these as a draw says."""
  notes, told = [], []
  family = matching(
    net=Witness(notes.append), path=gaussian.edm(sigma_max=4.0), steps=3, grid=times((4.0, 2.0, 1.0, 0.002))
  )
  with jax.disable_jit():
    params = start(family).params
    for n in range(20):
      notes.clear()
      family._generate(params, jax.random.key(n), data(2000))
      np.testing.assert_allclose(*zip(*notes, strict=True), rtol=0.1)
      told.append(tuple(round(r, 3) for r, _ in notes))
    assert set(told) == {(4.0,), (4.0, 2.0), (4.0, 2.0, 1.0)}
    notes.clear()
    family.sample(jax.random.key(0), params, 2000)
  np.testing.assert_allclose(np.transpose(notes), [[4.0, 2.0, 1.0]] * 2, rtol=0.1)
  loss = lambda params: family.loss(params, start(family), jax.random.key(0), data(8))[0]
  assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(params)))


def test_wrong_settings_are_refused():
  with pytest.raises(InputError, match="nothing to distil"):
    Progressive(spec=PLANE, net=SMALL)
  with pytest.raises(InputError, match="nothing to distil"):
    DistributionMatching(spec=PLANE, net=SMALL)
  with pytest.raises(InputError, match="choose a fixed density"):
    matching(times=importance())
  with pytest.raises(InputError, match="teacher: its network has other parameters"):
    matching(teacher=matching(net=SMALL).teacher)
  with pytest.raises(InputError, match="first time is 1, samples start from noise of t = 2"):
    matching(grid=times((1.0, 0.002)))
  with pytest.raises(InputError, match="adversarial_weight = 0"):
    matching(adversarial_weight=0.0)
  with pytest.raises(InputError, match="power of 2"):
    Shortcut(spec=PLANE, net=SMALL, finest=100)
  with pytest.raises(InputError, match="share"):
    MeanFlow(spec=PLANE, net=SMALL, share=1.5)
  with pytest.raises(InputError, match="steps = 0"):
    MeanFlow(spec=PLANE, net=SMALL, steps=0)
  with pytest.raises(InputError, match="has no ends here: choose"):
    MeanFlow(spec=PLANE, net=SMALL, steps=4, grid=rho())


def test_a_student_is_the_next_teacher_where_the_steps_meet():
  diffusion = Diffusion(spec=PLANE, net=SMALL, path=gaussian.cosine())
  fields = dict(spec=PLANE, net=SMALL, rounds=1, round_steps=1)
  first = Progressive(**fields, teacher=Trained(diffusion, start(diffusion).params), steps=2)
  run = Trained(first, start(first).params)
  state, metrics = jax.jit(Progressive(**fields, teacher=run, steps=1).step)(
    jax.random.key(0), start(Progressive(**fields, teacher=run, steps=1)), data(8)
  )
  assert np.isfinite(metrics["loss"]) and state.extra["teacher"] is not None
  probe = state.extra["probe"]
  ends = first.transport(jax.random.key(0), run.params, probe["noise"])
  np.testing.assert_allclose(probe["end"], ends, rtol=1e-5)
  with pytest.raises(InputError, match="Progressive has no denoiser"):
    Consistency(spec=PLANE, net=SMALL, teacher=run)
  with pytest.raises(InputError, match=r"takes 2 steps, and steps \* 2\^rounds is 4"):
    Progressive(**fields, teacher=run, steps=2)
  with pytest.raises(InputError, match="trained at other times: set grid"):
    Progressive(**fields, teacher=run, steps=1, grid=linear())


def test_a_batch_of_one_has_no_room_for_two_kinds_of_targets():
  family = Shortcut(spec=PLANE, net=SMALL)
  with pytest.raises(InputError, match=r"set train\.batch_size=2"):
    jax.eval_shape(family.step, jax.random.key(0), start(family), data(1))
  with pytest.raises(InputError, match="jumps smaller than were trained"):
    Shortcut(spec=PLANE, net=SMALL, finest=4, steps=8)


def test_a_teacher_of_coupled_pairs_has_no_score():
  """What it follows is a flow of the data all the same: consistency models learn that."""
  flow = FlowMatching(spec=PLANE, net=SMALL, coupling=coupling.optimal())
  fields = dict(spec=PLANE, net=SMALL, path=flow.path, prediction=flow.prediction)
  run = Trained(flow, start(flow).params)
  Consistency(**fields, teacher=run)
  with pytest.raises(InputError, match="coupled pairs, and has no score"):
    DistributionMatching(**fields, teacher=run)


def test_what_mean_flow_cannot_draw_or_weigh():
  for fields, message in (
    (dict(std=0.0), "std = 0.0 should be positive"),
    (dict(power=-1.0), "power = -1.0 should be"),
  ):
    with pytest.raises(InputError, match=message):
      MeanFlow(spec=PLANE, net=SMALL, **fields)
