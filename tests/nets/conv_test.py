"""Networks between images and vectors: shapes, whatever the image size."""

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.nets.conv import Decoder, Encoder, coarse


def test_coarse_rounds_up():
  assert [coarse((28, 7), n) for n in range(4)] == [(28, 7), (14, 4), (7, 2), (4, 1)]


def test_shapes_and_that_every_pixel_counts():
  shape = (7, 5, 3)
  encoder, decoder = Encoder(out=(2, 3), channels=(4, 6)), Decoder(out=shape, channels=(6, 4))

  @jax.jit
  def run(key, x, z):
    code, e = encoder.init_with_output(key, x)
    image, d = decoder.init_with_output(key, z)
    slope = jax.grad(lambda x: encoder.apply(e, x)[0].sum())(x)
    _, change = jax.jvp(lambda z: decoder.apply(d, z), (z,), (z.at[1].set(0.0),))
    return code, image, slope, change

  x, z = jax.random.normal(jax.random.key(0), (2, *shape)), jax.random.normal(jax.random.key(1), (2, 5))
  code, image, slope, change = run(jax.random.key(2), x, z)
  assert code.shape == (2, 2, 3) and image.shape == (2, *shape)
  assert np.all(slope[0] != 0), "every pixel reaches the code"
  assert np.all(change[0] != 0), "every pixel hears from the code"
  assert not np.any(slope[1]) and not np.any(change[1]), "one example does not reach another"


def test_compute_in_bfloat16_keeps_float32_outside():
  net = Decoder(out=(8, 8, 1), channels=(4,), dtype="bfloat16")
  z = jnp.ones((1, 3))
  params = net.init(jax.random.key(0), z)
  assert net.apply(params, z).dtype == jnp.float32
  assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(params))
