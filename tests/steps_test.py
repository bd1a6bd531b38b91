"""The optimiser, the moving average and the one-loss step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax import steps
from gen_jax.errors import InputError
from gen_jax.steps import Optimizer


def quadratic(params, state, key, batch):
  del state, key
  return 0.5 * jnp.sum((params["w"] - batch["x"]) ** 2), ({"w": params["w"][0]}, {"seen": batch["x"]})


def test_descend_takes_one_gradient_step():
  opt = Optimizer(rule="sgd", b1=0.0, lr=0.25)
  state = steps.start({"w": jnp.array([1.0, 2.0])}, opt, seen=jnp.zeros(2))
  state, metrics = steps.descend(quadratic, opt, jax.random.key(0), state, {"x": jnp.array([0.0, 4.0])})
  np.testing.assert_allclose(state.params["w"], [0.75, 2.5])
  assert int(state.step) == 1
  assert next(iter(metrics)) == "loss"
  np.testing.assert_allclose(metrics["loss"], 2.5)
  np.testing.assert_allclose(metrics["grad_norm"], np.sqrt(5.0), rtol=1e-6)
  np.testing.assert_allclose(state.extra["seen"], [0.0, 4.0])
  assert state.ema is None


def test_clipping_bounds_the_update_and_reports_the_true_norm():
  opt = Optimizer(rule="sgd", b1=0.0, lr=1.0, clip=0.5)
  state = steps.start({"w": jnp.array([3.0, 4.0])}, opt)
  new, metrics = steps.descend(quadratic, opt, jax.random.key(0), state, {"x": jnp.zeros(2)})
  np.testing.assert_allclose(state.params["w"] - new.params["w"], [0.3, 0.4], rtol=1e-6)
  np.testing.assert_allclose(metrics["grad_norm"], 5.0, rtol=1e-6)


@pytest.mark.parametrize("names", ["abc", "ab", "bc", "c"])
def test_norm(names):
  shapes = {"a": (200, 100), "b": (3, 4), "c": ()}
  tree = {name: jax.random.normal(jax.random.key(i), shapes[name]) for i, name in enumerate(names)}
  entries = np.concatenate([np.ravel(a) for a in tree.values()])
  np.testing.assert_allclose(steps.norm(tree), np.linalg.norm(entries), rtol=1e-6)


@pytest.mark.parametrize("clip", [0.5, 5.0, 50.0])
def test_clipping_is_that_of_optax(clip):
  grads = {"w": jnp.array([3.0, -4.0]), "b": jnp.array([[12.0]], jnp.bfloat16)}
  theirs = optax.clip_by_global_norm(clip)
  wanted, _ = theirs.update(grads, theirs.init(grads))
  opt = Optimizer(rule="sgd", b1=0.0, lr=1.0, clip=clip)
  ours, _ = opt.tx.update(grads, opt.tx.init(grads))
  assert jax.tree.map(lambda a: a.dtype, ours) == jax.tree.map(lambda a: a.dtype, wanted)
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(wanted), strict=True):
    np.testing.assert_allclose(np.float32(a), -np.float32(b), rtol=1e-6 if a.dtype == jnp.float32 else 1e-2)
  still, _ = opt.tx.update(jax.tree.map(jnp.zeros_like, grads), opt.tx.init(grads))
  assert all((np.float32(a) == 0).all() for a in jax.tree.leaves(still))


def test_average_is_the_weighted_sum_of_all_parameters_so_far():
  values = np.random.default_rng(0).normal(size=30)
  ema, decays = jnp.zeros(()), []
  for n, v in enumerate(values):
    ema = steps.average(ema, jnp.asarray(v), 0.9, jnp.asarray(n))
    decays.append(min(0.9, (1 + n) / (10 + n)))
  weights = [(1 - d) * np.prod(decays[n + 1 :]) for n, d in enumerate(decays)]
  np.testing.assert_allclose(ema, np.dot(weights, values), rtol=1e-5)
  assert steps.average(None, jnp.zeros(()), 0.9, jnp.zeros(())) is None


def test_schedules():
  cosine = Optimizer(lr=2.0, warmup=10, schedule="cosine", decay_steps=110).learning_rate
  np.testing.assert_allclose([cosine(0), cosine(5), cosine(10)], [0.0, 1.0, 2.0], atol=1e-6)
  np.testing.assert_allclose([cosine(60), cosine(110)], [1.0, 0.0], atol=1e-6)
  linear = Optimizer(lr=2.0, schedule="linear", decay_steps=100).learning_rate
  np.testing.assert_allclose([linear(0), linear(25), linear(100)], [2.0, 1.5, 0.0], atol=1e-6)


@pytest.mark.parametrize("rule", ["adam", "adamw", "radam", "lion", "sgd", "adamax"])
def test_every_rule_descends(rule):
  opt = Optimizer(rule=rule, lr=0.05)
  state = steps.start({"w": jnp.array([1.0, -1.0])}, opt, 0.9)
  step = jax.jit(lambda s: steps.descend(quadratic, opt, jax.random.key(0), s, {"x": jnp.zeros(2)}, ema_decay=0.9))
  state = state.replace(extra={"seen": jnp.zeros(2)})
  first = None
  for _ in range(30):
    state, metrics = step(state)
    first = metrics["loss"] if first is None else first
  assert metrics["loss"] < 0.7 * first


def test_a_decaying_schedule_needs_its_length():
  with pytest.raises(InputError, match="decay_steps"):
    Optimizer(schedule="cosine")


def test_unit_turns_directions_and_leaves_the_rest():
  """Directions end on the sphere where Adam alone would have pointed them; their length never changes the path."""
  key_w, key_grad = jax.random.split(jax.random.key(0))
  w = jax.random.normal(key_w, (3, 4, 5))
  w = w / jnp.sqrt(jnp.mean(w**2, axis=(0, 1)))
  params = {"layer": {"direction": w}, "gain": jnp.array([2.0, 3.0])}
  grads = jax.tree.map(lambda p: jax.random.normal(key_grad, p.shape), params)
  plain, unit = Optimizer(lr=0.3), Optimizer(lr=0.3, unit=("direction",), clip=1e9)
  (free, _), (held, _) = (steps.apply(o, grads, o.tx.init(params), params) for o in (plain, unit))
  np.testing.assert_array_equal(held["gain"], free["gain"])
  free, held = (np.asarray(p["layer"]["direction"]).reshape(12, 5) for p in (free, held))
  np.testing.assert_allclose(np.linalg.norm(held, axis=0), np.sqrt(12.0), rtol=1e-6)
  cosine = (free * held).sum(0) / np.linalg.norm(free, axis=0) / np.linalg.norm(held, axis=0)
  np.testing.assert_allclose(cosine, 1.0, rtol=1e-6)
  with pytest.raises(InputError, match="did you mean 'direction'"):
    Optimizer(unit=("directions",)).tx.init(params)


def test_a_schedule_is_longer_than_its_warmup():
  with pytest.raises(InputError, match="decay_steps = 10 should be more than warmup = 10"):
    Optimizer(schedule="linear", warmup=10, decay_steps=10)


@pytest.mark.parametrize(
  "field, value", [("lr", -1.0), ("lr", float("inf")), ("clip", 0.0), ("decay_steps", 0), ("warmup", -5), ("b1", 1.0)]
)
def test_an_optimizer_out_of_range_is_refused(field, value):
  with pytest.raises(InputError, match=rf"{field} = {value} should"):
    Optimizer(**{field: value})


@pytest.mark.parametrize("rule", ["adam", "adamw", "radam", "lion", "sgd", "adamax"])
def test_weights_decay_or_it_is_said_that_they_do_not(rule):
  if rule not in ("adamw", "lion"):
    with pytest.raises(InputError, match="adamw and lion decay weights"):
      Optimizer(rule=rule, weight_decay=0.1)
    return
  params = {"w": jnp.array([2.0])}
  still = {"w": jnp.zeros(1)}
  opt = Optimizer(rule=rule, lr=0.5, weight_decay=0.1)
  moved, _ = steps.apply(opt, still, opt.tx.init(params), params)
  np.testing.assert_allclose(moved["w"], 2.0 - 0.5 * 0.1 * 2.0, rtol=1e-6)
