"""The U-Net: shapes, what it depends on, and where it starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.nets.layers import Conv, blur, downsample, upsample
from gen_jax.nets.unet import Residual, UNet
from gen_jax.types import Entry

LABELS = (Entry(name="label", kind="label", size=3),)


def build(shape, **fields):
  """(apply, parameters away from their start, images, times)."""
  net = UNet(**{"channels": 8, "multipliers": (1, 2), "blocks": 1, "heads": 2} | fields)
  key_x, key_params = jax.random.split(jax.random.key(0))
  x, time = jax.random.normal(key_x, (2, *shape)), jnp.array([0.3, -1.2])
  shapes = jax.eval_shape(net.init, key_params, x, time)
  start = lambda p: float(p.ndim == 1) + 0.3 * jax.random.normal(key_params, p.shape)  # nothing is zero or one
  params = jax.tree.map(start, shapes)
  return jax.jit(net.apply, static_argnames="train"), params, x, time


@pytest.mark.parametrize(
  "shape, fields",
  [
    ((8, 8, 1), {}),
    ((28, 28, 1), dict(multipliers=(1, 1, 2, 2), attention=(2,))),
    ((7, 5, 3), dict(out=2, attention=(0, 1))),
    ((8, 12, 3), dict(patch=2, dtype="bfloat16", attention=())),
    (
      (7, 5, 3),
      dict(resample="block", smooth=True, rescale=True, progressive=True, head_channels=4, remat=True, dropout=0.1),
    ),
  ],
)
def test_takes_any_image(shape, fields):
  apply, params, x, time = build(shape, **fields)
  out = jax.eval_shape(apply, params, x, time)
  assert out.shape == (2, *shape[:2], fields.get("out", shape[-1]))
  assert out.dtype == jnp.float32
  assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(params))


def test_starts_at_zero():
  x, time = jnp.ones((1, 8, 8, 1)), jnp.zeros(1)
  net = UNet(channels=8, multipliers=(1,), blocks=1, attention=())
  start = jax.jit(lambda key: net.apply(net.init(key, x, time), x, time))
  np.testing.assert_array_equal(start(jax.random.key(0)), 0.0)


def test_every_pixel_sees_every_other_and_each_image_only_itself():
  apply, params, x, time = build((8, 8, 1))
  moved = jax.jacfwd(lambda pixel: apply(params, x.at[0, 0, 0, 0].set(pixel), time))(x[0, 0, 0, 0])
  assert (jnp.abs(moved[0]) > 0).all()
  np.testing.assert_array_equal(moved[1], 0.0)


@pytest.mark.parametrize("fields", [{}, dict(told="sum", channels=36, multipliers=(1,), attention=())])
def test_depends_on_the_time_and_the_label(fields):
  apply, params, x, time = build((8, 8, 1), conditions=LABELS, **fields)
  plain = apply(params, x, time)
  assert jnp.abs(apply(params, x, time + 0.01) - plain).max() > 1e-4
  assert jnp.abs(apply(params, x, time, {"label": jnp.array([0, 1])}) - plain).max() > 1e-3
  np.testing.assert_array_equal(apply(params, x, time, {"label": jnp.array([0, 1])}, jnp.array([True, True])), plain)


def test_every_parameter_has_a_gradient():
  apply, params, x, time = build((8, 8, 1), conditions=LABELS)
  loss = lambda params: jnp.sum(jnp.sin(apply(params, x, time, {"label": jnp.array([0, 2])})))
  for path, grad in jax.tree_util.tree_leaves_with_path(jax.grad(loss)(params)):
    name = jax.tree_util.keystr(path)
    if "Dense_0" in name and "Attention" in name and "bias" in name:
      grad = jnp.delete(grad, jnp.arange(len(grad) // 3, 2 * len(grad) // 3))  # softmax ignores the bias of keys
    assert (jnp.abs(grad) > 0).any(), name


def test_dropout_is_for_training():
  apply, params, x, time = build((8, 8, 1), dropout=0.5)
  draw = lambda seed: apply(params, x, time, train=True, rngs={"dropout": jax.random.key(seed)})
  np.testing.assert_array_equal(apply(params, x, time), apply(params, x, time))
  np.testing.assert_array_equal(draw(0), draw(0))
  assert jnp.abs(draw(0) - draw(1)).max() > 1e-3


def test_a_block_that_enlarges_is_one_on_the_larger_image():
  """Repeated pixels have the statistics of the pixels."""
  key = jax.random.key(0)
  x = jax.random.normal(key, (2, 4, 3, 8))
  block = lambda size: Residual(6, size=size)
  params = jax.tree.map(lambda p: p + 0.3 * jnp.cos(jnp.arange(p.size)).reshape(p.shape), block(None).init(key, x))
  larger = block(None).apply(params, upsample(x, 8, 6))
  np.testing.assert_allclose(block((8, 6)).apply(params, x), larger, rtol=1e-4, atol=1e-4)


def test_a_sum_that_a_norm_takes_away_is_refused():
  with pytest.raises(InputError, match='"sum" is lost on 8 channels'):
    build((8, 8, 1), told="sum")


def test_a_block_that_is_told_by_a_sum_adds_to_the_bias_of_its_convolution():
  x, vector = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(((1, 4, 4, 8), (1, 5))))
  block = Residual(36, told="sum")
  params = jax.tree.map(
    lambda p: p + 0.3 * jnp.cos(jnp.arange(p.size)).reshape(p.shape), block.init(jax.random.key(3), x)
  )
  dense = {"kernel": jax.random.normal(jax.random.key(2), (5, 36)), "bias": jnp.linspace(-1.0, 1.0, 36)}
  told = block.apply({"params": params["params"] | {"Dense_0": dense}}, x, vector)
  params["params"]["Conv_0"]["bias"] += vector[0] @ dense["kernel"] + dense["bias"]
  np.testing.assert_allclose(told, block.apply(params, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 6), (7, 5)])
def test_a_blurred_image_is_in_place_and_without_the_finest_waves(size):
  x = jax.random.normal(jax.random.key(0), (2, *size, 3))
  centre = {"params": {"kernel": jnp.zeros((3, 3, 3, 3)).at[1, 1].set(jnp.eye(3)), "bias": jnp.zeros(3)}}
  smaller = Conv(3, stride=2).apply(centre, blur(x))
  np.testing.assert_allclose(smaller, downsample(x, smooth=True), rtol=1e-5, atol=1e-6)
  rows, columns = np.indices(size)
  checkers = jnp.asarray((-1.0) ** (rows + columns))[None, ..., None]
  np.testing.assert_array_equal(blur(checkers)[:, 2:-2, 2:-2], 0.0)


def test_a_smooth_network_filters_its_input_before_it_is_shrunk():
  apply, params, x, time = build((8, 8, 1), progressive=True, smooth=True)
  plain = UNet(channels=8, multipliers=(1, 2), blocks=1, heads=2, progressive=True).apply(params, x, time)
  assert jnp.abs(apply(params, x, time) - plain).max() > 1e-2
