"""Layers against their definitions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from gen_jax.nets import attention
from gen_jax.nets.attention import attend
from gen_jax.nets.layers import Conv, Dense, GroupNorm, Layer, downsample, fold, fourier, unfold, upsample
from gen_jax.run import compile as compiling


def randomised(params, key):
  """Every parameter moved away from its start, so that zeros and ones hide nothing."""
  return jax.tree.map(lambda p: p + 0.3 * jax.random.normal(key, p.shape), params)


def test_first_values_are_made_once():
  class Scale(Layer):
    @nn.compact
    def __call__(self, x):
      return x * self.param("scale", lambda key, shape: made.append(shape) or jnp.ones(shape), x.shape)

  made, scale = [], Scale()
  params = scale.init(jax.random.key(0), jnp.ones(3))
  np.testing.assert_array_equal(scale.apply(params, jnp.arange(3.0)), jnp.arange(3.0))
  assert made == [(3,)]


@pytest.mark.parametrize("channels, groups", [(8, 4), (6, 4), (5, 32), (64, 32)])
def test_group_norm_standardises_each_group(channels, groups):
  key_x, key_scale, key_shift, key_params = jax.random.split(jax.random.key(0), 4)
  x = 3 + 2 * jax.random.normal(key_x, (3, 5, 4, channels))
  scale, shift = (jax.random.normal(k, (3, channels)) for k in (key_scale, key_shift))
  norm = GroupNorm(groups)
  params = randomised(norm.init(key_x, x), key_params)
  used = max(g for g in range(1, groups + 1) if channels % g == 0)
  parts = np.asarray(x, np.float64).reshape(3, 20, used, -1)
  mean, var = parts.mean((1, 3), keepdims=True), parts.var((1, 3), keepdims=True)
  plain = ((parts - mean) / np.sqrt(var + 1e-5)).reshape(x.shape)
  plain = plain * params["params"]["scale"] + params["params"]["bias"]
  np.testing.assert_allclose(norm.apply(params, x), plain, atol=2e-5)
  told = plain * (1 + scale[:, None, None]) + shift[:, None, None]
  np.testing.assert_allclose(norm.apply(params, x, scale, shift), told, atol=5e-5)


def test_group_norm_of_a_constant_is_its_bias():
  x = jnp.full((1, 4, 4, 8), 1e3)
  norm = GroupNorm(4)
  np.testing.assert_allclose(norm.apply(norm.init(jax.random.key(0), x), x), 0.0, atol=1e-2)


def test_conv_adds_its_bias_and_starts_at_zero_when_told():
  x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
  conv = Conv(4, kernel=1)
  params = randomised(conv.init(jax.random.key(1), x), jax.random.key(2))["params"]
  np.testing.assert_allclose(conv.apply({"params": params}, x), x @ params["kernel"][0, 0] + params["bias"], atol=1e-5)
  still = Conv(4, zero=True)
  np.testing.assert_array_equal(still.apply(still.init(jax.random.key(1), x), x), 0.0)


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_is_a_weighted_mean_of_values(heads):
  keys = jax.random.split(jax.random.key(0), 3)
  shapes = [(2, n, heads, 4) for n in (3, 5, 5)]
  q, k, v = (np.asarray(jax.random.normal(key, s), np.float64) for key, s in zip(keys, shapes, strict=True))
  out = np.zeros((2, 3, heads, 4))
  for b, t, h in np.ndindex(2, 3, heads):
    weights = np.exp(k[b, :, h] @ q[b, t, h] / 2)
    out[b, t, h] = weights / weights.sum() @ v[b, :, h]
  np.testing.assert_allclose(attend(*map(jnp.float32, (q, k, v))), out, atol=1e-5)


def test_attention_in_half_precision_has_derivatives_of_both_modes():
  """On a GPU these sizes are those of the fused kernel."""
  exact = jax.random.normal(jax.random.key(0), (4, 2, 16, 3, 8))
  q, k, v, tangent = exact.astype(jnp.bfloat16)
  want, slope = jax.jvp(lambda q: attend(q, *exact[1:3]), (exact[0],), (exact[3],))
  got = jax.jit(attend)(q, k, v)
  assert got.dtype == jnp.bfloat16
  np.testing.assert_allclose(got.astype(jnp.float32), want, atol=0.03)
  forward = jax.jvp(lambda q: attend(q, k, v), (q,), (tangent,))[1]
  np.testing.assert_allclose(forward.astype(jnp.float32), slope, atol=0.03)
  weight = exact[3]
  back = jax.grad(lambda q: (weight * attend(q, k, v)).sum())(q)
  np.testing.assert_allclose((back * tangent).sum(dtype=jnp.float32), (weight * slope).sum(), rtol=0.03)


def test_the_fused_kernel_is_for_what_is_not_differentiated(monkeypatch):
  """Traced as on a GPU that has it, which needs none."""
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  monkeypatch.setattr(attention, "_has_cudnn", lambda: True)
  monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91_000)
  monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_compute_capability", lambda *_: True)
  x = jnp.ones((2, 16, 3, 8), jnp.bfloat16)
  program = lambda f, x: str(jax.make_jaxpr(f)(x))
  alone = lambda x: attend(x, x, x)
  seen = jnp.ones((2, 16), bool)
  assert "dot_product_attention_fwd" in program(alone, x)
  for other in (
    program(jax.grad(lambda x: alone(x).sum()), x),
    program(lambda x: jax.jvp(alone, (x,), (x,)), x),
    program(lambda x: attend(x, x, x, seen), x),
    program(alone, x.astype(jnp.float32)),
  ):
    assert "dot_product_attention_fwd" not in other


def test_attention_on_a_tpu(monkeypatch):
  """Pallas' kernel: what its interpreter makes of it, and that it can be lowered; both need no TPU."""
  exact = jax.random.normal(jax.random.key(0), (4, 1, 256, 2, 8))
  want = attend(*exact[:3])
  monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
  q, k, v, tangent = exact.astype(jnp.bfloat16)
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  lowered = lambda f, *args: jax.export.export(jax.jit(f), platforms=["tpu"])(*args).mlir_module()
  assert "tpu_custom_call" in lowered(attend, q, k, v)
  with pltpu.force_tpu_interpret_mode():
    got = attend(q, k, v)
  assert got.dtype == jnp.bfloat16
  np.testing.assert_allclose(got.astype(jnp.float32), want, atol=0.03)
  for other in (
    lowered(jax.grad(lambda q: attend(q, k, v).sum()), q),
    lowered(lambda q: jax.jvp(lambda q: attend(q, k, v), (q,), (tangent,)), q),
    lowered(attend, q, k[:, :200], v[:, :200]),
    lowered(attend, *exact[:3]),
  ):
    assert "tpu_custom_call" not in other
  monkeypatch.setattr(jax, "device_count", lambda: 4)
  assert "tpu_custom_call" not in lowered(lambda *args: attend(*args), q, k, v)  # a new function: traced again


def test_upsampling_repeats_and_crops():
  x = jnp.arange(4.0).reshape(1, 2, 2, 1)
  expected = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 3]])
  np.testing.assert_array_equal(upsample(x, 3, 3)[0, :, :, 0], expected)


@pytest.mark.parametrize("size", [(4, 6), (3, 6), (4, 5), (3, 5)])
@pytest.mark.parametrize("kernel, stride", [(3, 1), (3, 2), (1, 1), (5, 1)])
def test_convolution_of_repeated_pixels(size, kernel, stride):
  x = jax.random.normal(jax.random.key(0), (2, 2, 3, 4))
  conv = Conv(5, kernel=kernel, stride=stride)
  params = conv.init(jax.random.key(1), x)
  np.testing.assert_allclose(conv.apply(params, x, size), conv.apply(params, upsample(x, *size)), rtol=1e-4, atol=1e-5)


def test_fold_keeps_neighbours_together_and_unfold_inverts_it():
  x = jnp.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
  np.testing.assert_array_equal(fold(x, 2)[1, 1, 2], x[1, 2:4, 4:6].reshape(-1))
  np.testing.assert_array_equal(unfold(fold(x, 2), 2), x)


@pytest.mark.parametrize("features", [8, 9])
def test_fourier_tells_times_apart(features):
  time = jnp.linspace(-4.0, 4.0, 801)
  waves = fourier(time, features)
  assert waves.shape == (801, features)
  gaps = jnp.linalg.norm(waves[:, None] - waves, axis=-1) + 10 * jnp.eye(801)
  assert gaps.min() > 0.05  # a hundredth apart at the least, and never the same again


@pytest.mark.parametrize("shape", [(7,), (2, 7), (2, 3, 7), (2, 3, 4, 7)])
def test_dense_is_flaxs(shape):
  x = jax.random.normal(jax.random.key(0), shape)
  params = Dense(5).init(jax.random.key(1), x)
  want = nn.Dense(5).apply(params, x)
  np.testing.assert_allclose(Dense(5).apply(params, x), want, atol=1e-6)
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, nn.Dense(5).init(jax.random.key(1), x))


def test_gradients_of_dense_copy_nothing_into_another_layout(on_cpu):
  """The kernel's is a product along the rows of both sides as they are; otherwise one of them was turned first."""
  x, params = jnp.ones((2, 16, 8)), {"params": {"kernel": jnp.ones((8, 24)), "bias": jnp.ones(24)}}
  loss = lambda params, x: jnp.sum(jnp.sin(Dense(24).apply(params, x)))
  hlo = compiling.jit(jax.grad(loss)).lower(params, x).compile().as_text()
  (product,) = [line for line in hlo.splitlines() if " dot(" in line and "lhs_contracting_dims={0}" in line]
  assert "rhs_contracting_dims={0}" in product


@pytest.mark.parametrize("size", ((6, 4), (5, 7)))
def test_smooth_resampling_is_linear_interpolation_and_its_filter(size):
  """Against numpy's interpolation and convolution, along each axis."""
  x = np.random.default_rng(0).standard_normal(size)
  finer = lambda v: np.interp(np.arange(2 * len(v)) / 2 - 0.25, np.arange(len(v)), v)
  expected = np.apply_along_axis(finer, 1, np.apply_along_axis(finer, 0, x))
  got = upsample(jnp.array(x, jnp.float32)[None, ..., None], *(2 * n for n in size), smooth=True)
  np.testing.assert_allclose(got[0, ..., 0], expected, atol=1e-6)
  coarser = lambda v: np.convolve(np.pad(v, (1, 2), mode="edge"), [1 / 8, 3 / 8, 3 / 8, 1 / 8], "valid")[: len(v) : 2]
  expected = np.apply_along_axis(coarser, 1, np.apply_along_axis(coarser, 0, x))
  got = downsample(jnp.array(x, jnp.float32)[None, ..., None], smooth=True)
  np.testing.assert_allclose(got[0, ..., 0], expected, atol=1e-6)
