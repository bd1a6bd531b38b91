"""Every kind of condition reaches every network, is hidden on request, and knows its place."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.nets.condition import Condition
from gen_jax.nets.dit import DiT
from gen_jax.nets.mlp import TimeMLP
from gen_jax.nets.unet import UNet
from gen_jax.types import Entry

ENTRIES = (
  Entry(name="label", kind="label", size=3),
  Entry(name="caption", kind="text", shape=(5,)),
  Entry(name="clip", kind="vectors", shape=(3, 4)),
  Entry(name="boxes", kind="boxes", shape=(2, 5), size=3),
  Entry(name="small", kind="image", shape=(2, 3, 1)),
  Entry(name="map", kind="map", shape=(4, 6), size=3),
)
NETS = {
  "unet": UNet(channels=8, multipliers=(1,), blocks=1, attention=(), heads=2, text_depth=1, conditions=ENTRIES),
  "dit": DiT(width=8, depth=1, heads=2, text_depth=1, conditions=ENTRIES),
}
X, TIME = jax.random.normal(jax.random.key(0), (2, 4, 6, 1)), jnp.array([0.3, -1.2])


def rows(seed):
  rng = np.random.default_rng(seed)
  corner = rng.uniform(0, 0.5, (2, 2, 2))
  return {
    "label": np.array([seed, 2 - seed]),
    "caption": rng.integers(1, 256, (2, 5)),
    "clip": rng.normal(size=(2, 3, 4)).astype(np.float32),
    "boxes": np.concatenate([rng.integers(0, 3, (2, 2, 1)), corner, corner + 0.4], -1).astype(np.float32),
    "small": rng.normal(size=(2, 2, 3, 1)).astype(np.float32),
    "map": rng.integers(0, 3, (2, 4, 6)),
  }


@functools.cache
def subject(name):
  """(apply, parameters away from their start)."""
  net = NETS[name]
  shapes = jax.eval_shape(net.init, jax.random.key(1), X, TIME, rows(0))
  keys = iter(jax.random.split(jax.random.key(2), len(jax.tree.leaves(shapes))))
  params = jax.tree.map(lambda p: float(p.ndim == 1) + 0.3 * jax.random.normal(next(keys), p.shape), shapes)
  return jax.jit(net.apply), params


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.kind)
def test_the_network_reads_each_and_only_where_it_is_not_hidden(name, entry):
  apply, params = subject(name)
  one, other = rows(0), rows(0) | {entry.name: rows(1)[entry.name]}
  shown, half = jnp.array([False, False]), jnp.array([True, False])
  moved = jnp.abs(apply(params, X, TIME, one, shown) - apply(params, X, TIME, other, shown)).max((1, 2, 3))
  assert (moved > 1e-4).all()
  a, b = (apply(params, X, TIME, cond, half) for cond in (one, other))
  np.testing.assert_array_equal(a[0], b[0])
  assert jnp.abs(a[1] - b[1]).max() > 1e-4
  assert jnp.abs(a[0] - apply(params, X, TIME, one, shown)[0]).max() > 1e-4


@pytest.mark.parametrize("name", NETS)
def test_nothing_told_is_all_hidden(name):
  apply, params = subject(name)
  hidden = apply(params, X, TIME, rows(0), jnp.array([True, True]))
  np.testing.assert_allclose(apply(params, X, TIME), hidden, rtol=1e-5, atol=1e-5)


def test_every_parameter_has_a_gradient():
  apply, params = subject("dit")
  loss = lambda p: jnp.sum(jnp.sin(apply(p, X, TIME, rows(0), jnp.array([True, False]))))
  grads = jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params))
  assert not [jax.tree_util.keystr(path) for path, grad in grads if not (grad != 0).any()]


def test_padding_is_not_read():
  """A text is what stands before its zeros, and boxes without area are none, wherever they lie."""
  apply, params = subject("dit")
  cond = rows(0)
  cond["boxes"][:, 1] = [2, 0.3, 0.3, 0.3, 0.9]
  cond["clip"][:, 2] = 0.0
  cond["caption"][:, 3:] = 0
  plain = apply(params, X, TIME, cond)
  cond["boxes"][:, 1] = [1, 0.7, 0.1, 0.7, 0.1]
  np.testing.assert_array_equal(apply(params, X, TIME, cond), plain)
  cond["boxes"][:, 1] = [1, 0.7, 0.1, 0.8, 0.2]
  assert jnp.abs(apply(params, X, TIME, cond) - plain).max() > 1e-4


def test_text_knows_the_order_of_its_bytes():
  apply, params = subject("dit")
  cond = rows(0)
  turned = cond | {"caption": cond["caption"][:, ::-1]}
  assert jnp.abs(apply(params, X, TIME, cond) - apply(params, X, TIME, turned)).max() > 1e-4


def test_images_and_maps_stand_where_they_belong():
  """Planes have the size of the input, each pixel at its place: a small image is enlarged."""
  module = Condition(8, 4, ENTRIES[4:])
  cond = {"small": np.zeros((2, 2, 3, 1), np.float32), "map": np.zeros((2, 4, 6), np.int32)}
  params = module.init(jax.random.key(0), X, TIME, cond)
  plain = module.apply(params, X, TIME, cond).x
  assert plain.shape == (2, 4, 6, 1 + 2 + 8)
  np.testing.assert_array_equal(plain[..., :1], X)
  cond["small"][:, 1, 2], cond["map"][:, 0, 5] = 1.0, 2
  moved = jnp.abs(module.apply(params, X, TIME, cond).x - plain)[0]
  assert moved[3, 5, 1] == moved[..., 1].max() and (moved[:2, :3, 1] == 0).all()
  assert (np.argwhere(moved[..., 3:].max(-1) > 0) == [[0, 5]]).all()


def test_vectors_take_labels_only():
  with pytest.raises(InputError, match="takes labels, not text such as 'caption'"):
    TimeMLP(conditions=ENTRIES[1:2]).init(jax.random.key(0), jnp.zeros((2, 3)), TIME)


def test_a_kind_that_has_no_way_in_is_refused():
  condition = Condition(8, 4, (Entry(name="start", kind="vector", shape=(2,)),))
  with pytest.raises(InputError, match="'start' is a vector"):
    condition.init(jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros(1))
