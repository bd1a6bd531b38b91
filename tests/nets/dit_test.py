"""The diffusion transformer: its published sizes, shapes, and where it starts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.nets.dit import DiT, positions
from gen_jax.types import Entry

LABELS = (Entry(name="label", kind="label", size=1000),)
TINY = dict(width=16, depth=2, heads=2)


@pytest.mark.parametrize("size, millions", [("S", 33), ("B", 130), ("L", 458), ("XL", 675)])
def test_published_sizes(size, millions):
  """Parameters of table 4 of 2212.09748: latents of 32x32x4, patches of 2, 1000 classes, and variances predicted."""
  net = DiT(size=size, out=8, conditions=LABELS)
  shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 4)), jnp.zeros(1))
  assert round(sum(p.size for p in jax.tree.leaves(shapes)) / 1e6) == millions


def test_takes_any_grid_of_patches_and_starts_at_zero():
  x, time = jax.random.normal(jax.random.key(0), (2, 6, 8, 3)), jnp.array([0.3, -1.2])
  net = DiT(**TINY, out=2, dtype="bfloat16")
  params = jax.jit(net.init)(jax.random.key(1), x, time)
  out = jax.jit(net.apply)(params, x, time)
  assert out.shape == (2, 6, 8, 2) and out.dtype == jnp.float32
  np.testing.assert_array_equal(out, 0.0)
  assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(params))
  with pytest.raises(InputError, match="patches of 4 pixels"):
    DiT(**TINY, patch=4).init(jax.random.key(0), x, time)


def test_remat_changes_nothing_but_memory():
  x, time = jax.random.normal(jax.random.key(0), (2, 4, 4, 1)), jnp.array([0.3, -1.2])
  nets = [DiT(**TINY, remat=remat, dropout=0.2) for remat in (False, True)]
  params, key = jax.jit(nets[0].init)(jax.random.key(1), x, time), jax.random.key(3)
  params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(key, p.shape), params)  # off the zeros of the start

  def gradient(net, params):
    out = lambda p: net.apply(p, x, time, train=True, rngs={"dropout": jax.random.key(2)})
    return jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(out(p)))))(params)

  first = jax.jit(nets[1].init)(jax.random.key(1), x, time)
  jax.tree.map(np.testing.assert_array_equal, jax.jit(nets[0].init)(jax.random.key(1), x, time), first)
  plain, again = (gradient(net, params) for net in nets)
  jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), again, plain)


def test_positions_tell_rows_from_columns():
  """Inner products of places fall with their distance along each axis, and no two places are alike."""
  p = positions(5, 7, 32).reshape(5, 7, 32)
  np.testing.assert_allclose((p**2).sum(-1), 16.0, rtol=1e-6)
  near, far = (p[0, 0] * p[0, 1]).sum(), (p[0, 0] * p[0, 4]).sum()
  assert 16 > near > far
  np.testing.assert_allclose((p[1, 2] * p[3, 2]).sum(), (p[0, 5] * p[2, 5]).sum())  # only the distance counts
  np.testing.assert_allclose(p[0, 3, :16], p[0, 0, :16])  # the row's half does not see the column
  flat = p.reshape(35, -1)
  assert (np.linalg.norm(flat[:, None] - flat, axis=-1) + 9 * np.eye(35)).min() > 0.5
