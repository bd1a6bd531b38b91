"""EDM2's layers keep magnitudes, whatever the length of their weights; its network is the published one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from gen_jax.errors import InputError
from gen_jax.nets import edm2
from gen_jax.types import Entry

TINY = dict(channels=8, multipliers=(1, 2), blocks=0, attention=(1,), head_channels=8)
ENTRIES = (
  Entry(name="label", kind="label", size=3),
  Entry(name="caption", kind="vectors", shape=(3, 4)),
  Entry(name="small", kind="image", shape=(4, 4, 1)),
)
COND = {
  "label": jnp.array([0, 2]),
  "caption": jax.random.normal(jax.random.key(4), (2, 3, 4)),
  "small": jax.random.normal(jax.random.key(5), (2, 4, 4, 1)),
}
MANY = 20_000  # draws: the error of a mean square of normal numbers is sqrt(2 / MANY), and five of it are 5%
ERROR = 5 * (2 / MANY) ** 0.5


def normal(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


@functools.cache
def build(shape=(8, 8, 1), **fields):
  """(apply, parameters away from their start, images, times)."""
  net = edm2.UNet(**TINY | fields)
  x, time = normal(0, 2, *shape), jnp.array([0.3, -1.2])
  shapes = jax.eval_shape(net.init, jax.random.key(1), x, time)
  params = jax.tree.map(lambda p: float(p.ndim == 0) + 0.3 * jax.random.normal(jax.random.key(1), p.shape), shapes)
  return jax.jit(net.apply, static_argnames="train"), params, x, time


def scaled(params, factor):
  """`params` with the directions of each output channel `factor(channels)` times as long."""
  is_direction = lambda path: path[-1].key == "direction"
  scale = lambda path, p: p * factor(p.shape[-1]) if is_direction(path) else p
  return jax.tree_util.tree_map_with_path(scale, params)


@pytest.mark.parametrize("size, millions", [(128, 124.7), (192, 280.2), (384, 1119.3)])
def test_published_sizes(size, millions):
  """Of EDM2-XS, S and XL: latents of 64x64x4 and 1000 classes."""
  net = edm2.UNet(channels=size, conditions=(Entry(name="label", kind="label", size=1000),))
  shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 64, 64, 4)), jnp.zeros(1))
  assert round(sum(p.size for p in jax.tree.leaves(shapes)) / 1e6, 1) == millions


@pytest.mark.parametrize("window", [(), (3, 3)])
@pytest.mark.parametrize("length", [1.0, 7.0])
def test_linear_keeps_the_variance_of_every_channel(window, length):
  """Of white noise, whatever the weights: looked at where no padding is."""
  x = normal(0, MANY, *window, 6)
  layer = edm2.Linear(5, window)
  params = scaled(layer.init(jax.random.key(1), x[:1]), lambda n: length * jnp.arange(1.0, n + 1))
  y, half = (layer.apply(params, x, gain) for gain in (1.0, 0.5))
  y, half = (a[:, 1, 1] if window else a for a in (y, half))
  np.testing.assert_allclose(jnp.square(y).mean(0), 1.0, atol=ERROR)
  np.testing.assert_allclose(half, 0.5 * y, rtol=1e-5, atol=1e-6)


def test_functions_keep_the_variance():
  x, h = normal(0, MANY, 4), normal(1, MANY, 4)
  square = lambda z: float(edm2.silu(jnp.float32(z))) ** 2 * stats.norm.pdf(z)
  assert abs(integrate.quad(square, -8, 8)[0] - 1) < 2 * 0.0005 / 0.596  # the published constant has three digits
  for share in (0.1, 0.3, 0.5):
    np.testing.assert_allclose(jnp.square(edm2.add(x, h, share)).mean(0), 1.0, atol=ERROR)
  np.testing.assert_allclose(edm2.add(x, 0 * h, 0.25) / x, 3 / np.sqrt(10), rtol=1e-5)
  both = jnp.square(edm2.join(jnp.ones((1, 3)), -jnp.ones((1, 12))))
  np.testing.assert_allclose([both.mean(), both[:, :3].sum(), both[:, 3:].sum()], [1.0, 7.5, 7.5], rtol=1e-6)
  scales = jnp.array([[1e-3], [1.0], [1e3]])
  np.testing.assert_allclose(jnp.square(edm2.normalize(scales * normal(2, 3, 8))).mean(-1), 1.0, rtol=0.02)


def test_fourier_features_are_of_one_magnitude_and_tell_times_apart():
  """Random phases would leave an error of sqrt(1 / 2n) in the mean square of n features."""
  time, n = jnp.linspace(-4, 4, 81), 512
  waves = edm2.fourier(time, n)
  np.testing.assert_allclose(jnp.square(waves).mean(-1), 1.0, atol=5 * (0.5 / n) ** 0.5)
  overlap = waves @ waves.T / n  # the Gaussian kernel exp(-(2 pi dt)^2 / 2) that random features are of
  gap = 2 * np.pi * (time[:, None] - time)
  np.testing.assert_allclose(overlap, np.exp(-(gap**2) / 2), atol=5 * n**-0.5)
  pairs = edm2.fourier(jnp.stack([time, time[::-1]], axis=-1), n)
  np.testing.assert_allclose(pairs, jnp.concatenate([waves, waves[::-1]], axis=-1), atol=1e-6)


def test_attention_sees_directions_alone():
  x, source = normal(0, 2, 3, 2, 8), normal(1, 2, 5, 8)
  layer = edm2.Attention(2)
  params = jax.jit(layer.init)(jax.random.key(2), x)
  branch = jax.jit(lambda x, *source: layer.apply(params, x, *source) - edm2.add(x, 0 * x))
  np.testing.assert_allclose(branch(10 * x), branch(x), atol=1e-4)
  np.testing.assert_allclose(branch(x, 10 * source), branch(x, source), atol=1e-4)
  assert jnp.abs(branch(x, source) - branch(x)).max() > 0.1
  seen = jnp.arange(5) < jnp.array([[5], [2]])
  np.testing.assert_allclose(branch(x, source, seen)[1], branch(x[1:], source[1:, :2])[0], atol=1e-5)


@pytest.mark.parametrize("decoder", [False, True])
def test_a_block_keeps_the_variance(decoder):
  """In the pixel that no padding reaches, on average over channels; the encoder's of any input.

  The mean m of silu(z) / 0.596 is 0.35, so a channel's mean square is 1 - m^2 + m^2 s^2 with s, the sum of its weights,
  standard normal: it varies by sqrt(2) m^2 = 0.17, over 64 channels and two layers by 0.03, of which 0.16 enters the
  sum. The stream and the branch are correlated by 1 / (3 * 64), which enters by 0.72. Five of these, and of the error
  of 500 x 64 draws, are 0.06.
  """
  x, vector = normal(0, 500, 5, 5, 64) * (1 if decoder else 3), normal(1, 500, 8)
  block = edm2.Block(64, decoder=decoder)
  out = jax.jit(lambda key, *args: block.apply(block.init(key, *args), *args))(jax.random.key(2), x, vector)
  assert abs(float(jnp.square(out[:, 2, 2]).mean()) - 1) < 0.06


def test_length_of_weights_changes_nothing_and_has_no_gradient():
  apply, params, x, time = build(conditions=ENTRIES)
  longer = scaled(params, lambda n: jnp.geomspace(0.5, 4.0, n))
  plain = apply(params, x, time, COND)
  assert jnp.sqrt(jnp.square(plain).mean()) > 0.1
  np.testing.assert_allclose(apply(longer, x, time, COND), plain, atol=1e-4)
  grads = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(apply(p, x, time, COND)))))(params)
  directions = 0
  for (path, g), w in zip(jax.tree_util.tree_leaves_with_path(grads), jax.tree.leaves(params), strict=True):
    if path[-1].key == "direction":
      w, g = (a.reshape(-1, a.shape[-1]) for a in (w, g))
      lengths = jnp.linalg.norm(w, axis=0) * jnp.linalg.norm(g, axis=0)
      assert (lengths > 0).any(), jax.tree_util.keystr(path)
      np.testing.assert_allclose((w * g).sum(0) / (lengths + 1e-6), 0.0, atol=1e-3)
      directions += 1
    elif path[-1].key == "gain":
      assert g != 0, jax.tree_util.keystr(path)
  assert directions > 20


def test_conditions_take_effect():
  apply, params, x, time = build(conditions=ENTRIES)
  plain, told = apply(params, x, time), apply(params, x, time, COND)
  assert jnp.abs(apply(params, x, time + 0.01, COND) - told).max() > 1e-3
  for name, other in (("label", jnp.array([2, 2])), ("caption", -COND["caption"]), ("small", -COND["small"])):
    assert jnp.abs(apply(params, x, time, COND | {name: other}) - told).max() > 1e-3, name
  np.testing.assert_allclose(apply(params, x, time, COND, jnp.array([True, True])), plain, atol=1e-5)


def test_starts_at_zero():
  apply, params, x, time = build(conditions=ENTRIES)
  net = edm2.UNet(**TINY, conditions=ENTRIES)
  gain = jax.jit(lambda key: net.init(key, x, time)["params"]["gain"])(jax.random.key(0))
  start = {"params": params["params"] | {"gain": gain}}
  np.testing.assert_array_equal(apply(start, x, time, COND), 0.0)


def test_takes_any_image():
  apply, params, x, time = build((7, 5, 3), out=2, attention=(), dtype="bfloat16", remat=True, dropout=0.5)
  draw = lambda seed: apply(params, x, time, train=True, rngs={"dropout": jax.random.key(seed)})
  out = draw(0)
  assert out.shape == (2, 7, 5, 2) and out.dtype == jnp.float32 and jnp.isfinite(out).all()
  np.testing.assert_array_equal(draw(0), out)
  assert jnp.abs(draw(1) - out).max() > 1e-3
  assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(params))


def test_refuses_heads_that_do_not_fit():
  net = edm2.UNet(channels=8, multipliers=(1, 2), blocks=1, attention=(), head_channels=12)
  with pytest.raises(InputError, match="head_channels = 12 does not divide the 16"):
    jax.eval_shape(net.init, jax.random.key(0), jnp.ones((1, 8, 8, 1)), jnp.zeros(1))
