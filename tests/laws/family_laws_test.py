"""What every family promises, over `configs/*.py:smoke`: a new config is covered the day it lands."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.data.feed import feed
from gen_jax.family import HasBound, HasLogProb
from gen_jax.run import checkpoint, config, sample
from gen_jax.run import compile as compiling
from gen_jax.run import mesh as meshes

CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("[a-z]*.py"))
STEPS = 4  # a layer that starts at zero hides the one before it from the first gradient
HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])  # a state without a place is another program's


class Subject:
  """A family at the start of its smoke run."""

  def __init__(self, path: pathlib.Path):
    self.config = config.load(f"{path}:smoke")
    self.source, self.family = config.build(self.config)
    self.feed = feed(self.source, seed=0, batch_size=self.config.train.batch_size)
    self.init = jax.jit(self.family.init)
    self.step = compiling.jit(self.family.step)
    self.state = jax.device_put(self.init(jax.random.key(1), self.batch(0)), HERE)

  def batch(self, step: int):
    item = jax.tree.map(lambda a: a[0], self.feed.chunk(step, 1, 1))
    return self.feed.batch(self.feed.store, item)

  def run(self, state, first: int, last: int, step=None):
    for n in range(first, last):
      state, metrics = (step or self.step)(jax.random.fold_in(jax.random.key(2), n), state, self.batch(n))
    return state, metrics


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda p: p.stem)
def s(request):
  """Each config in turn, for all laws of it; then its programs are let go, of which a process can hold only so many."""
  yield Subject(request.param)
  jax.clear_caches()


def close(actual, expected, tolerance):
  """Leaves agree relative to the largest entry of each."""
  paths = jax.tree_util.tree_leaves_with_path(expected)
  for (path, want), got in zip(paths, jax.tree.leaves(actual), strict=True):
    want, got = np.asarray(want, np.float64), np.asarray(got, np.float64)
    scale = max(np.abs(want).max(initial=0.0), 1e-6)
    np.testing.assert_allclose(got / scale, want / scale, atol=tolerance, err_msg=jax.tree_util.keystr(path))


def gradients(state):
  """What a step computed before an optimiser like Adam turned it into signs: its moments, and `extra`."""
  return (state.opt, state.extra) if jax.tree.leaves(state.opt) else (state.params, state.extra)


def test_a_step_is_finite_and_moves_every_parameter(s):
  state, metrics = s.run(s.state, 0, STEPS)
  assert int(state.step) == STEPS
  assert jax.tree.structure(state) == jax.tree.structure(s.state)
  for (where, old), new in zip(jax.tree_util.tree_leaves_with_path(s.state), jax.tree.leaves(state), strict=True):
    assert (old.shape, old.dtype) == (new.shape, new.dtype), jax.tree_util.keystr(where)
  for tree in (state.params, metrics):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
  assert all(np.shape(v) == () for v in metrics.values())
  moved = jax.tree_util.tree_leaves_with_path(
    jax.tree.map(lambda a, b: bool((a != b).any()), s.state.params, state.params)
  )
  frozen = getattr(s.family, "frozen", ())  # what a family says that it leaves as it is
  still = lambda where: jax.tree_util.keystr(where[:1], simple=True) in frozen
  assert not [jax.tree_util.keystr(where) for where, m in moved if not m and not still(where)], "these never move"
  assert not [jax.tree_util.keystr(where) for where, m in moved if m and still(where)], "these should not move"


def test_jit_equals_eager(s):
  args = (jax.random.key(2), s.state, s.batch(0))
  compiled, metrics = s.step(*args)
  with jax.disable_jit():
    eager, eager_metrics = s.family.step(*args)
  close(gradients(compiled), gradients(eager), 1e-3)
  close(metrics, eager_metrics, 1e-3)


def test_one_trace_serves_every_step(s):
  traces = []

  def step(key, state, batch):  # of the same name, it is compiled already, and in the cache
    traces.append(1)
    return s.family.step(key, state, batch)

  s.run(s.state, 0, 3, compiling.jit(step))
  assert len(traces) == 1


def test_same_key_same_step_and_another_key_another(s):
  first, _ = s.run(s.state, 0, 1)  # in which a critic that starts as the teacher has nothing to say
  one, two, other = (s.step(jax.random.key(k), first, s.batch(1))[0] for k in (2, 2, 3))
  assert all((a == b).all() for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))
  differ = [(a != b).any() for a, b in zip(jax.tree.leaves(one.opt), jax.tree.leaves(other.opt), strict=True)]
  assert any(differ), "the key changes nothing: is it used?"


def test_samples_have_the_shape_and_range_of_the_data(s):
  cond = sample.conditions(s.family, 5)
  draw = compiling.jit(s.family.sample, static_argnums=2)
  x = draw(jax.random.key(3), s.state.eval_params, 5, cond)
  assert x.shape == (5, *s.source.spec.shape) and x.dtype == jnp.float32
  assert np.isfinite(x).all()
  if s.source.spec.kind == "image":
    assert np.abs(x).max() <= 1.0
  assert (x == draw(jax.random.key(3), s.state.eval_params, 5, cond)).all()
  assert (x != draw(jax.random.key(4), s.state.eval_params, 5, cond)).any()
  assert s.family.evaluations >= 1


def test_a_checkpoint_holds_all_that_a_run_needs(s, tmp_path):
  middle, _ = s.run(s.state, 0, 2)
  straight, _ = s.run(middle, 2, STEPS)
  store = checkpoint.Checkpoints(tmp_path, s.config)
  store.save(2, middle)
  step, restored = store.restore(checkpoint.abstract(middle, jax.tree.map(lambda _: HERE, middle)))
  resumed, _ = s.run(restored, step, STEPS)
  for (where, want), got in zip(jax.tree_util.tree_leaves_with_path(straight), jax.tree.leaves(resumed), strict=True):
    assert (want == got).all(), jax.tree_util.keystr(where)


def test_four_devices_agree_with_one(s):
  mesh = meshes.local()
  assert mesh.size == 4
  spread = lambda batch: jax.device_put(batch, meshes.rows(mesh))
  whole = lambda tree: jax.device_put(tree, meshes.replicated(mesh))
  one, metrics = s.step(jax.random.key(2), s.state, s.batch(0))
  four, metrics_four = s.step(whole(jax.random.key(2)), whole(s.state), spread(s.batch(0)))
  close(gradients(four), gradients(one), 1e-3)
  close(metrics_four, metrics, 1e-3)


def test_mass_of_a_box_is_the_share_of_samples_in_it(s):
  """For vectors in the plane: a likelihood, exact or nearly so by importance sampling, agrees with the sampler."""
  exact = isinstance(s.family, HasLogProb)
  if s.source.spec.shape != (2,) or not (exact or isinstance(s.family, HasBound)):
    pytest.skip("no density in the plane")
  state, _ = s.run(s.state, 0, STEPS)
  params, key = state.eval_params, jax.random.key(4)
  x = compiling.jit(s.family.sample, static_argnums=2)(jax.random.key(5), params, 20_000)
  middle, half, n = np.asarray(jnp.median(x, 0)), np.asarray(jnp.std(x, 0)), 160
  axes = [m + h * ((np.arange(n) + 0.5) / n * 2 - 1) for m, h in zip(middle, half, strict=True)]
  grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2).astype(np.float32)
  if exact:
    log_p = compiling.jit(s.family.log_prob)(key, params, grid)
  else:
    log_p = compiling.jit(functools.partial(s.family.log_prob_bound, num=256))(key, params, grid)
  mass = float(jnp.exp(log_p).sum() * np.prod(2 * half / n))
  share = float((jnp.abs(x - middle) < half).all(-1).mean())
  assert 0.2 < share < 0.95, "the box says nothing"
  assert mass == pytest.approx(share, abs=5 * 0.5 / len(x) ** 0.5 + (0.0 if exact else 0.02))
