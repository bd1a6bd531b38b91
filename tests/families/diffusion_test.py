"""The diffusion family around networks whose answers are known."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import resolve
from gen_jax.errors import InputError
from gen_jax.families.diffusion import Diffusion
from gen_jax.family import HasDenoiser
from gen_jax.nets.mlp import MLP, TimeMLP
from gen_jax.ops import gaussians
from gen_jax.ops.shapes import expand
from gen_jax.processes import bounds, gaussian, guidance, prediction, times, weighting
from gen_jax.solvers import adaptive, edm, grids, ode, sde, semilinear
from gen_jax.solvers.base import half_log_snr
from gen_jax.steps import Optimizer
from gen_jax.types import Spec

PLANE = Spec(shape=(2,), kind="vector", classes=3)
STD = 0.5  # of the Gaussian data that the exact networks know


class Exact(nn.Module):
  """The noise that is expected in xt, on the cosine path, if class k is N(k, STD^2), hidden N(0, STD^2)."""

  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    self.param("unused", nn.initializers.zeros_init(), (1,))
    ratio = jnp.exp(4 * time)  # sigma / alpha
    a, s = (expand(v, x) for v in (1 / jnp.sqrt(1 + ratio**2), ratio / jnp.sqrt(1 + ratio**2)))
    label = jnp.zeros(len(x)) if cond is None else cond["label"]
    mean = expand(label if hidden is None else jnp.where(hidden, 0, label), x)
    return s * (x - a * mean) / ((a * STD) ** 2 + s**2)


class Counting(nn.Module):
  """Records the labels that it is given, and which of them are hidden."""

  conditions: tuple = ()
  seen = []

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    hidden = jnp.zeros(len(x), bool) if hidden is None else hidden
    jax.debug.callback(lambda *v: Counting.seen.append(v), cond["label"], hidden)
    return x * self.param("unused", nn.initializers.zeros_init(), (1,))


def exact(**kwargs):
  return Diffusion(spec=PLANE, net=Exact(), prediction=prediction.eps(), **kwargs)


def start(family, num=8):
  batch = {"x": jnp.zeros((num, *family.spec.shape)), "label": jnp.zeros(num, jnp.int32)}
  return family.init(jax.random.key(0), batch), batch


def test_a_sampler_traces_its_network_once():
  """Though it asks it in every step of the loop and once more after it, for Heun's method in three places."""
  traces = []

  class Traced(Exact):
    @nn.compact
    def __call__(self, *args, **kwargs):
      traces.append(args)
      return super().__call__(*args, **kwargs)

  family = Diffusion(spec=PLANE, net=Traced(), prediction=prediction.eps(), solver=edm.heun)
  params = start(family)[0].params
  traces.clear()
  jax.make_jaxpr(family.sample, static_argnums=2)(jax.random.key(0), params, 8)
  assert len(traces) == 1


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
  remains = np.asarray(weight(family.path, jnp.array(t))) / (snr + 1 / STD**2)
  np.testing.assert_allclose(loss, np.trapezoid(remains, t) / (t[-1] - t[0]), rtol=0.02)


def test_predictions_weigh_alike():
  """The loss is that of the denoiser: the same whichever output the weight is expressed in."""
  x, key = STD * jax.random.normal(jax.random.key(1), (256, 2)), jax.random.key(2)

  class Through(nn.Module):
    """The exact denoiser, as another prediction's output."""

    to: prediction.Prediction
    conditions: tuple = ()

    def setup(self):
      self.inner = Exact()

    def __call__(self, x, time, cond=None, hidden=None, *, train=False):
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
def test_cond_dropout(rate):
  """A share `rate` of the conditions is hidden, and they are as they were."""
  family = Diffusion(spec=PLANE, net=Counting(), conditions=("label",), cond_dropout=rate)
  state, _ = start(family)
  label = jnp.arange(20_000) % 3
  Counting.seen.clear()
  family.loss(state.params, state, jax.random.key(1), {"x": jnp.zeros((20_000, 2)), "label": label})
  jax.effects_barrier()
  seen, hidden = Counting.seen[-1]
  assert abs(hidden.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / 20_000) + 1e-9
  assert np.array_equal(seen, label)


def test_guidance_ends():
  """Weight 1 is conditional, 0 is unconditional, and others lie on the line through both, at twice the cost."""
  label, xt = jnp.array([0, 1, 2, 2]), jax.random.normal(jax.random.key(0), (4, 2))
  t = jnp.array(0.6)

  def estimate(weight, cond):
    family = exact(conditions=("label",), cond_dropout=0.1, guidance=guidance.classifier_free(weight))
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
    conditions: tuple = ()

    @nn.compact
    def __call__(self, x, time, cond=None, hidden=None, *, train=False):
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


def test_log_prob_is_that_of_the_data():
  """Of the condition, without guidance; for vectors the bound is of the same density."""
  path = gaussian.cosine(t_max=0.9995)  # little is left of the label
  guided = dict(conditions=("label",), cond_dropout=0.1, guidance=guidance.classifier_free(3.0))
  family = exact(path=path, flow=bounds.Flow(steps=128), **guided)
  state, _ = start(family)
  label = jnp.arange(3000) % 3
  x = label[:, None] + STD * jax.random.normal(jax.random.key(1), (3000, 2))
  expected = gaussians.log_prob(x, label[:, None].astype(x.dtype), np.log(STD), axes=1)
  log_p = jax.jit(family.log_prob)(jax.random.key(2), state.params, x, {"label": label})
  np.testing.assert_allclose(log_p, expected, atol=0.03)
  bound = jax.jit(functools.partial(family.log_prob_bound, num=4))(jax.random.key(2), state.params, x, {"label": label})
  assert float((bound - expected).mean()) == pytest.approx(0.0, abs=5 * float((bound - expected).std()) / 3000**0.5)
  assert family.bound() == "variational bound, continuous time"


def test_uncertainty():
  """The loss of exp(-u) error + u, with the network's own u at each time."""
  x, key = STD * jax.random.normal(jax.random.key(1), (64, 2)), jax.random.key(2)
  plain, learned = exact(), exact(uncertainty=MLP(width=8, depth=1))
  state, _ = start(learned)
  family_times = plain.times.draw(jax.random.split(key, 3)[1], plain.path, 64, ())[0]
  u = MLP(width=8, depth=1).apply(
    {"params": state.params["uncertainty"]}, prediction.eps()(plain.path, family_times).time[:, None]
  )[:, 0]
  eps = jax.random.normal(jax.random.split(key, 3)[0], x.shape)
  errors = plain._errors(state.params, key, {"x": x}, family_times, plain.path.mix(x, eps, family_times))
  loss = learned.loss(state.params, state, key, {"x": x})[0]
  np.testing.assert_allclose(loss, jnp.mean(jnp.exp(-u) * errors + u), rtol=1e-4)
  state, _ = jax.jit(learned.step)(key, state, {"x": x})
  assert learned.denoiser(state.params)(jnp.array(0.5), x).shape == x.shape


def test_times_learn_from_step_to_step():
  family = exact(times=times.importance(bins=4))
  state, batch = start(family, 64)
  assert not state.extra["times"]["seen"].any()
  state, _ = jax.jit(family.step)(jax.random.key(1), state, batch)
  assert state.extra["times"]["seen"].all() and (state.extra["times"]["square"] > 0).all()


class Widening(nn.Module):
  """The noise expected in xt for N(0, STD^2) data, and the variance of a step of the grid `ts` back: both exact."""

  ts: tuple = ()
  out: int = 1
  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    self.param("unused", nn.initializers.zeros_init(), (1,))
    eps, path, ts = Exact(name="exact")(x, time), gaussian.cosine(), jnp.array(self.ts)
    here = jnp.argmin(jnp.abs(half_log_snr(path, ts) + 4 * time[:, None]), axis=-1)
    t, s = ts[here], ts[jnp.minimum(here + 1, len(ts) - 1)]
    late, early = jnp.exp(2 * half_log_snr(path, t)), jnp.exp(2 * half_log_snr(path, s))
    widening = jnp.log1p((early - late) / (late + STD**-2))  # by how much Var[x_s | x_t] exceeds Var[x_s | x_t, x0]
    share = widening / 2 / jnp.log(path.sigma(t) / path.sigma(s) + 1e-12)
    return jnp.concatenate([eps, expand(2 * share - 1, eps) * jnp.ones_like(eps)], axis=-1)


def test_learned_variance_makes_long_steps_right():
  """Of ancestral sampling: with it eight steps give normal data their spread, which the fixed one makes too narrow."""
  spec, ts = Spec(shape=(1, 1, 1), kind="image", levels=2), grids.log_snr()(gaussian.cosine(), 8)
  spread = {}
  for kind in ("learned", "fixed"):
    net = Widening(ts=tuple(map(float, ts)))
    net = net if kind == "learned" else Exact()
    family = Diffusion(
      spec=spec, net=net, prediction=prediction.eps(), variance=kind, solver=semilinear.ancestral, steps=8
    )
    state = family.init(jax.random.key(0), {"x": jnp.zeros((4, 1, 1, 1))})
    spread[kind] = float(jax.jit(family.sample, static_argnums=2)(jax.random.key(1), state.params, 40_000).std())
  assert spread["learned"] == pytest.approx(STD, rel=0.02)
  assert spread["fixed"] < 0.95 * STD


def test_learned_variance_counts_in_the_bound():
  """Of a chain of eight steps: the right variance costs 1/2 log(1 + d) a step, the least one d / 2."""
  spec, path, steps = Spec(shape=(1, 1, 1), kind="image", levels=2), gaussian.cosine(), 8
  ts = grids.log_snr()(path, steps)
  x, value = STD * jax.random.normal(jax.random.key(2), (40_000, 1, 1, 1)), {}
  for kind, net in (("learned", Widening(ts=tuple(map(float, ts)))), ("fixed", Exact())):
    chain = bounds.Discrete(steps=steps, grid=grids.log_snr())
    family = Diffusion(spec=spec, net=net, prediction=prediction.eps(), variance=kind, likelihood=chain)
    state = family.init(jax.random.key(0), {"x": x[:4]})
    value[kind] = float(jax.jit(family.log_prob_bound)(jax.random.key(1), state.params, x).mean())
  snr = np.exp(2 * np.asarray(half_log_snr(path, ts), np.float64))
  d = (snr[1:] - snr[:-1]) / (snr[:-1] + STD**-2)
  assert value["learned"] - value["fixed"] == pytest.approx(0.5 * np.sum(d - np.log1p(d)), rel=0.03)


def test_hybrid_loss_leaves_the_mean_alone():
  """The gradient of the first half of the channels is that of the plain loss, the second half learns from the bound."""
  spec = Spec(shape=(2, 2, 1), kind="image", levels=2)

  class Half(nn.Module):
    out: int = 1
    conditions: tuple = ()

    @nn.compact
    def __call__(self, x, time, cond=None, hidden=None, *, train=False):
      mean, share = (
        self.param("mean", nn.initializers.ones_init(), ()),
        self.param("share", nn.initializers.ones_init(), ()),
      )
      return jnp.concatenate([mean * x, share * x], axis=-1)[..., : self.out]

  batch = {"x": jax.random.normal(jax.random.key(1), (32, 2, 2, 1))}

  def gradient(kind):
    family = Diffusion(spec=spec, net=Half(), variance=kind)
    state = family.init(jax.random.key(0), batch)
    loss = lambda params: family.loss(params, state, jax.random.key(2), batch)[0]
    return jax.jit(jax.grad(loss))(state.params)["params"]

  grads = {kind: gradient(kind) for kind in ("learned", "fixed")}
  np.testing.assert_allclose(grads["learned"]["mean"], grads["fixed"]["mean"], rtol=1e-5)
  assert abs(float(grads["learned"]["share"])) > 1e-6 and float(grads["fixed"]["share"]) == 0.0


def test_hybrid_loss_goes_back_once():
  """Both losses are of one call of the network, and so is their gradient."""
  spec = Spec(shape=(4, 4, 1), kind="image", levels=2)

  class Wide(nn.Module):
    out: int = 1
    conditions: tuple = ()

    @nn.compact
    def __call__(self, x, time, cond=None, hidden=None, *, train=False):
      return nn.Dense(self.out)(nn.Dense(256)(nn.Dense(256)(x)))

  batch = {"x": jax.random.normal(jax.random.key(1), (32, 4, 4, 1))}

  def flops(kind):
    family = Diffusion(spec=spec, net=Wide(), variance=kind)
    state = jax.eval_shape(family.init, jax.random.key(0), batch)
    loss = lambda params: family.loss(params, state, jax.random.key(2), batch)[0]
    return jax.jit(jax.grad(loss)).lower(state.params).compile().cost_analysis()["flops"]

  assert flops("learned") < 1.1 * flops("fixed")


@pytest.mark.parametrize(
  "fields, message",
  (
    (dict(guidance=guidance.classifier_free(2.0)), "conditions hidden"),
    (dict(guidance=guidance.interval(2.0), conditions=("label",)), "conditions hidden"),
    (dict(cond_dropout=0.1), "conditional model"),
    (dict(cond_dropout=1.5, conditions=("label",)), "should be in"),
    (dict(conditions=("lable",)), "did you mean 'label'"),
    (dict(steps=-1), "at least 0"),
    (dict(chain=0), "at least 1"),
    (dict(variance="learned"), "for vectors"),
    (
      dict(variance="learned", solver=sde.reverse_diffusion, spec=Spec(shape=(2, 2, 1), kind="image")),
      "semilinear.ancestral",
    ),
    (dict(spec=Spec(shape=(2,), kind="vector"), conditions=("label",)), "these data have no 'label'"),
  ),
)
def test_bad_input(fields, message):
  with pytest.raises(InputError, match=message):
    Diffusion(**{"spec": PLANE, **fields})


def test_evaluations_of_an_adaptive_solver_are_not_known():
  assert Diffusion(spec=PLANE, solver=adaptive.tsit5()).evaluations is None
  assert Diffusion(spec=PLANE, steps=7).evaluations == 8


@pytest.mark.parametrize(
  "cond, message",
  (
    (dict(label=[10, 3]), "label = 10 should be a class from 0 to 2"),
    (dict(label=np.array([-1, 3])), "label = -1 should be a class from 0 to 2"),
    (dict(label=[[1], [2]]), r"label should have shape \(rows,\), not \(2, 1\)"),
    (dict(lable=[1, 2]), "cond has no 'label': did you mean 'lable'"),
  ),
)
def test_conditions_that_do_not_exist(cond, message):
  """Beyond the last class a network has its row for none, or no row at all."""
  family = exact(conditions=("label",), cond_dropout=0.1)
  with pytest.raises(InputError, match=message):
    family.sample(jax.random.key(0), start(family)[0].params, 2, cond)


def test_labels_are_needed_where_none_were_ever_hidden():
  family = exact(conditions=("label",))
  state, _ = start(family)
  with pytest.raises(InputError, match="give cond"):
    family.sample(jax.random.key(0), state.params, 3)
