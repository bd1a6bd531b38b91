"""Convolution, its transpose, and derivatives of every order and mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.ops.convolution import convolve, enlarged, transposed

SMALL = [(2, 2, 3, 1), (2, 3, 3, 2), (1, 1, 3, 1), (3, 4, 4, 2), (4, 2, 5, 1), (1, 8, 3, 3)]  # smaller than a window
CASES = [(8, 8, 3, 1), (7, 6, 3, 2), (8, 8, 4, 2), (5, 6, 4, 2), (4, 4, 1, 1), (9, 7, 3, 3), *SMALL]
cases = pytest.mark.parametrize("height, width, kernel, stride", CASES)


def arrays(height, width, kernel, stride):
  key_x, key_w, key_y = jax.random.split(jax.random.key(0), 3)
  small = (-(-height // stride), -(-width // stride))
  x, y = jax.random.normal(key_x, (2, height, width, 3)), jax.random.normal(key_y, (2, *small, 5))
  return x, jax.random.normal(key_w, (kernel, kernel, 3, 5)), y


def plain(x, w, stride):
  """What JAX differentiates by itself."""
  return jax.lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def agree(ours, theirs):
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(jnp.abs(b).max()))


def test_a_sum_over_windows():
  x, w, _ = arrays(8, 8, 4, 2)
  padded = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
  windows = [[padded[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] for j in range(4)] for i in range(4)]
  np.testing.assert_allclose(convolve(x, w, 2), np.einsum("ijbklc,klcd->bijd", windows, w), rtol=1e-4, atol=1e-4)


@cases
def test_transposed_is_the_transpose(height, width, kernel, stride):
  x, w, y = arrays(height, width, kernel, stride)
  back = transposed(y, w, (height, width), stride)
  np.testing.assert_allclose(jnp.vdot(y, convolve(x, w, stride)), jnp.vdot(back, x), rtol=1e-4, atol=1e-3)


@cases
def test_derivatives_are_those_of_the_plain_convolution(height, width, kernel, stride):
  x, w, y = arrays(height, width, kernel, stride)

  def derivatives(conv):
    f = lambda x, w: jnp.sum(jnp.tanh(conv(x, w, stride)) * y)
    penalty = lambda x, w: jnp.sum(jnp.square(jax.grad(f)(x, w)))  # as of R1
    tangent = lambda w: jax.jvp(lambda x: conv(x, w, stride), (x,), (jnp.cos(x),))[1]
    return (
      jax.grad(f, (0, 1))(x, w),
      jax.grad(penalty, (0, 1))(x, w),
      jax.jvp(f, (x, w), (jnp.sin(x), jnp.sin(w))),
      jax.grad(lambda w: jnp.sum(jnp.tanh(tangent(w)) * y))(w),
      jax.jvp(jax.grad(f), (x, w), (jnp.sin(x), jnp.sin(w)))[1],
    )

  agree(jax.jit(lambda: derivatives(convolve))(), jax.jit(lambda: derivatives(plain))())


@cases
def test_derivatives_of_the_transpose(height, width, kernel, stride):
  x, w, y = arrays(height, width, kernel, stride)

  def plain_transposed(y, w):
    return jax.linear_transpose(lambda x: plain(x, w, stride), x)(y)[0]

  def derivatives(conv):
    f = lambda y, w: jnp.sum(jnp.tanh(conv(y, w)) * x)
    return jax.grad(f, (0, 1))(y, w), jax.jvp(f, (y, w), (jnp.sin(y), jnp.sin(w)))

  ours = lambda y, w: transposed(y, w, (height, width), stride)
  agree(jax.jit(lambda: derivatives(ours))(), jax.jit(lambda: derivatives(plain_transposed))())


def test_derivatives_to_fewer_channels():
  """Where the gradient of the kernel changes its roles."""
  key_x, key_w, key_y = jax.random.split(jax.random.key(0), 3)
  x, y = jax.random.normal(key_x, (2, 8, 7, 5)), jax.random.normal(key_y, (2, 8, 7, 3))
  f = lambda conv: lambda x, w: jnp.sum(jnp.tanh(conv(x, w, 1)) * y)
  w = jax.random.normal(key_w, (3, 3, 5, 3))
  agree(*(jax.jit(jax.grad(f(conv), (0, 1)))(x, w) for conv in (convolve, plain)))
  agree(*(jax.jit(jax.hessian(f(conv), 1))(x, w) for conv in (convolve, plain)))


def repeated(x, w):
  """What `enlarged` is short for."""
  return plain(x.repeat(2, axis=1).repeat(2, axis=2), w, 1)


@pytest.mark.parametrize("height, width", [(5, 4), (1, 3)])
def test_enlarged(height, width):
  x, w, _ = arrays(height, width, 3, 1)
  agree(enlarged(x, w), repeated(x, w))
  f = lambda conv: lambda x, w: jnp.sum(jnp.tanh(conv(x, w)))
  derivatives = lambda conv: (
    jax.grad(f(conv), (0, 1))(x, w),
    jax.jvp(jax.grad(f(conv)), (x, w), (jnp.sin(x), jnp.sin(w)))[1],
    jax.vmap(lambda x: conv(x[None], w))(x),
  )
  agree(jax.jit(lambda: derivatives(enlarged))(), jax.jit(lambda: derivatives(repeated))())


def test_enlarged_keeps_what_bits_there_are():
  x, w, _ = (a.astype(jnp.bfloat16) for a in arrays(5, 4, 3, 1))
  np.testing.assert_array_equal(enlarged(x, w), repeated(x, w))


def test_enlarged_makes_half_of_the_products(on_cpu):
  x, w, _ = arrays(16, 16, 3, 1)
  flops = lambda conv: jax.jit(conv).lower(x, w).compile().cost_analysis()["flops"]
  gradients = lambda conv: jax.grad(lambda x, w: jnp.sum(jnp.sin(conv(x, w))), (0, 1))
  assert flops(enlarged) < 0.6 * flops(repeated)
  assert flops(gradients(enlarged)) < 0.6 * flops(gradients(repeated))


def test_enlarged_wide_ones():
  x, w = wide()
  agree(enlarged(x, w), repeated(x, w))
  gradients = lambda conv: jax.grad(lambda x, w: jnp.sum(jnp.tanh(conv(x, w) / 24)), (0, 1))
  agree(jax.jit(gradients(enlarged))(x, w), jax.jit(gradients(repeated))(x, w))


def wide():
  """An image and a kernel, of a convolution that takes another form while nobody differentiates it."""
  key_x, key_w = jax.random.split(jax.random.key(0))
  return jax.random.normal(key_x, (2, 6, 7, 64)), jax.random.normal(key_w, (3, 3, 64, 70))


def loss(conv):
  return lambda x, w: jnp.sum(jnp.tanh(conv(x, w, 1) / 24))


def test_wide_ones():
  x, w = wide()
  agree(convolve(x, w), plain(x, w, 1))
  agree(jax.vmap(lambda x: convolve(x[None], w)[0])(x), plain(x, w, 1))
  agree(jax.jit(jax.grad(loss(convolve), (0, 1)))(x, w), jax.jit(jax.grad(loss(plain), (0, 1)))(x, w))
  back = lambda conv: jax.linear_transpose(lambda x: conv(x, w, 1), x)(jnp.ones((2, 6, 7, 70)))[0]
  agree(back(convolve), back(plain))
  agree(jax.vmap(lambda w: convolve(x, w))(jnp.stack([w, 2 * w]))[1], plain(x, 2 * w, 1))


def test_form_of_wide_ones(on_cpu):
  x, w = wide()
  names = lambda fn: [eqn.primitive.name for eqn in jax.make_jaxpr(fn)(x, w).eqns]
  assert "convolve_undifferentiated" in names(loss(convolve))
  assert "convolve_undifferentiated" not in names(jax.grad(loss(convolve)))
  whole = str(jax.make_jaxpr(jax.grad(lambda w: jax.vmap(lambda x: loss(convolve)(x[None], w))(x).sum()))(w))
  assert "optimization_barrier" not in whole  # nor through the other form


def test_small_ones_in_a_vmap_in_few_bits_or_without_any():
  x, w, y = arrays(2, 3, 3, 1)
  agree(jax.vmap(lambda w: convolve(x, w))(jnp.stack([w, 2 * w])), jnp.stack([plain(x, w, 1), plain(x, 2 * w, 1)]))
  few = [a.astype(jnp.bfloat16) for a in (x, w, y)]
  made = jax.vjp(convolve, *few[:2])[1](few[2])
  for a, b in zip(made, jax.vjp(lambda x, w: plain(x, w, 1), x, w)[1](y), strict=True):
    assert a.dtype == jnp.bfloat16
    np.testing.assert_allclose(a.astype(jnp.float32), b, atol=0.02 * float(jnp.abs(b).max()))
  assert convolve(x[:0], w).shape == (0, 2, 3, 5)


def test_vmap():
  x, w, _ = arrays(7, 6, 3, 2)
  kernels = jnp.stack([w, 2 * w])
  agree(jax.vmap(lambda w: convolve(x, w, 2))(kernels), jnp.stack([convolve(x, w, 2), convolve(x, 2 * w, 2)]))
  agree(jax.vmap(lambda x: convolve(x[None], w, 2)[0])(x), convolve(x, w, 2))


@cases
@pytest.mark.parametrize("channels", [5, 64])
def test_compiled_convolutions_are_in_the_one_order_that_is_fast(height, width, kernel, stride, channels, on_cpu):
  """XLA's CPU compiler changes the order where images are smaller than windows, and then takes ten times as long."""
  x, y = (jax.ShapeDtypeStruct((2, -(-height // s), -(-width // s), channels), "float32") for s in (1, stride))
  w = jax.ShapeDtypeStruct((kernel, kernel, channels, channels), "float32")
  forward = lambda x, w: convolve(x, w, stride)
  backward = lambda x, w, y: jax.vjp(forward, x, w)[1](y)
  small = height * width < kernel**2
  for fn, given, there in ((forward, (x, w), not small), (backward, (x, w, y), True)):
    text = jax.jit(fn).lower(*given).compile().as_text()
    lines = [line for line in text.splitlines() if " convolution(" in line]
    assert bool(lines) == (there and kernel > 1)
    assert all("dim_labels=b01f_01io->b01f" in line for line in lines)


def test_derivatives_are_the_form_that_is_fast_inside_loops(on_cpu):
  """XLA's CPU compiler leaves other orders of dimensions alone there, and runs them 50 to 100 times slower."""
  x, w, _ = arrays(8, 8, 3, 2)
  hlo = jax.jit(jax.grad(lambda w, x: jnp.sum(jnp.tanh(convolve(x, w, 2))))).lower(w, x).as_text("hlo")
  lines = [line for line in hlo.splitlines() if " convolution(" in line]
  assert len(lines) == 2
  assert all("dim_labels=b01f_01io->b01f" in line for line in lines)
