"""The players of a GAN on images: shapes, and scales that neither vanish nor explode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.nets.dcgan import Discriminator, Down, Generator, Up


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 5, 3)])
def test_shapes_and_scales(shape):
  generator, discriminator = Generator(out=shape, channels=(16, 8)), Discriminator(channels=(8, 16))
  z = jax.random.normal(jax.random.key(0), (16, 10))

  @jax.jit
  def run(key):
    x, _ = generator.init_with_output(key, z)
    noise = jax.random.normal(key, x.shape)
    logits, _ = discriminator.init_with_output(key, noise)
    return x, logits

  x, logits = run(jax.random.key(1))
  assert x.shape == (16, *shape) and logits.shape == (16,)
  assert 0.2 < x.std() < 3.0 and 0.1 < logits.std() < 5.0


def test_up_undoes_the_size_of_down():
  for size in [(8, 8), (7, 5)]:
    x = jnp.ones((1, *size, 2))
    y, _ = Down(3).init_with_output(jax.random.key(0), x)
    assert y.shape == (1, -(-size[0] // 2), -(-size[1] // 2), 3)
    x, _ = Up(4, size=size).init_with_output(jax.random.key(0), y)
    assert x.shape == (1, *size, 4)


def test_compute_in_bfloat16_keeps_float32_outside():
  net, z = Generator(out=(8, 8, 1), channels=(4, 4), dtype="bfloat16"), jnp.ones((2, 3))
  x, params = net.init_with_output(jax.random.key(0), z)
  grads = jax.grad(lambda p: net.apply(p, z).sum())(params)
  assert x.dtype == jnp.float32
  assert all(g.dtype == jnp.float32 and np.isfinite(g).all() for g in jax.tree.leaves(grads))
