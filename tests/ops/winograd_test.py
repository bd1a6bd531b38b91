"""Winograd's algorithm against the definition of a convolution, in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.ops import convolution, winograd


def definition(x, w):
  """A sum over nine shifted images, in float64."""
  x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
  height, width = x.shape[1:3]
  x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  return sum(x[:, i : i + height, j : j + width] @ w[i, j] for i in range(3) for j in range(3))


@pytest.mark.parametrize("height, width", [(8, 8), (4, 5), (7, 9), (14, 3), (1, 1), (2, 6)])
def test_is_a_convolution(height, width):
  key_x, key_w = jax.random.split(jax.random.key(0))
  x = jax.random.normal(key_x, (2, height, width, 64))
  w = jax.random.normal(key_w, (3, 3, 64, 33)) / np.sqrt(9 * 64)  # an output of order one
  np.testing.assert_allclose(jax.jit(winograd.convolve)(x, w), definition(x, w), atol=3e-5)


def test_gradients_agree_with_finite_differences():
  """Of the wide convolution, whose derivatives all run through this algorithm."""
  key_x, key_w, key_y, key_dx, key_dw = jax.random.split(jax.random.key(1), 5)
  x, dx = (jax.random.normal(k, (2, 6, 5, 32)) for k in (key_x, key_dx))
  w, dw = (jax.random.normal(k, (3, 3, 32, 32)) / 17 for k in (key_w, key_dw))
  y = np.asarray(jax.random.normal(key_y, x.shape), np.float64)
  loss = lambda x, w: np.sum(np.tanh(definition(x, w)) * y)
  grad_x, grad_w = jax.grad(lambda x, w: (jnp.tanh(convolution.convolve(x, w)) * y.astype(np.float32)).sum(), (0, 1))(
    x, w
  )
  step = 1e-6
  x64, w64, dx64, dw64 = (np.asarray(a, np.float64) for a in (x, w, dx, dw))
  along_x = (loss(x64 + step * dx64, w64) - loss(x64 - step * dx64, w64)) / (2 * step)
  along_w = (loss(x64, w64 + step * dw64) - loss(x64, w64 - step * dw64)) / (2 * step)
  np.testing.assert_allclose(np.vdot(grad_x, dx), along_x, rtol=1e-4, atol=1e-3)
  np.testing.assert_allclose(np.vdot(grad_w, dw), along_w, rtol=1e-4, atol=1e-3)


def test_the_gradient_of_the_kernel_sums_over_parts_of_the_batch(monkeypatch):
  key_x, key_y = jax.random.split(jax.random.key(2))
  x, y = jax.random.normal(key_x, (6, 5, 5, 4)), jax.random.normal(key_y, (6, 5, 5, 3))
  gradient = lambda: jax.grad(lambda w: (convolution.convolve(x, w) * y).sum())(np.ones((3, 3, 4, 3), np.float32))
  whole = gradient()
  monkeypatch.setattr(convolution, "_CACHE", 2 * 5 * 5 * 7 * 4)  # two images
  jax.clear_caches()
  np.testing.assert_allclose(gradient(), whole, rtol=1e-5, atol=1e-5)
