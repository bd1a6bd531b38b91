"""The networks between images and grids of codes: sizes, dtypes, and a clear error where they do not fit."""

import jax
import jax.numpy as jnp
import pytest

from gen_jax.errors import InputError
from gen_jax.nets.autoencoder import Decoder, Encoder

KEY = jax.random.key(0)


@pytest.mark.parametrize(("size", "grid"), [((32, 32), (8, 8)), ((10, 7), (3, 2))])
def test_two_halvings_and_back(size, grid):
  nets = dict(channels=4, multipliers=(1, 2, 2), blocks=1)
  x = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
  z, _ = jax.eval_shape(Encoder(out=5, **nets).init_with_output, KEY, x)
  assert z.shape == (2, *grid, 5)
  out, _ = jax.eval_shape(Decoder(out=(*size, 3), **nets).init_with_output, KEY, z)
  assert out.shape == x.shape


def test_outputs_are_float32_whatever_is_computed_in():
  nets = dict(channels=4, multipliers=(1, 1), blocks=1, dtype="bfloat16")
  z, params = jax.eval_shape(Encoder(**nets).init_with_output, KEY, jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32))
  out, _ = jax.eval_shape(Decoder(out=(8, 8, 1), **nets).init_with_output, KEY, z)
  assert {a.dtype for a in (z, out, *jax.tree.leaves(params))} == {jnp.dtype("float32")}


def test_a_grid_of_another_size_is_refused():
  z = jnp.zeros((1, 4, 4, 2))
  with pytest.raises(InputError, match=r"it takes codes of 2x2, not 4x4: give it as many multipliers as the encoder"):
    Decoder(out=(8, 8, 1), channels=4, multipliers=(1, 1, 1)).init(KEY, z)
