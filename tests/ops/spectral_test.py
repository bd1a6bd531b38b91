"""Spectral normalisation against singular value decompositions."""

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.nets.dcgan import Discriminator
from gen_jax.ops import spectral


def params_of():
  net = Discriminator(channels=(4, 8))
  return net, net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


def kernels(params):
  flat = jax.tree_util.tree_leaves_with_path(params)
  return [np.asarray(leaf).reshape(-1, leaf.shape[-1]) for path, leaf in flat if path[-1].key == "kernel"]


def test_power_iteration_finds_the_largest_singular_values():
  _, params = params_of()
  u = spectral.start(jax.random.key(1), params)
  u = jax.lax.fori_loop(0, 300, lambda i, u: spectral.iterate(params, u), u)
  before, after = kernels(params), kernels(spectral.normalize(params, u))
  assert len(before) == 3
  for old, new in zip(before, after, strict=True):
    top = np.linalg.svd(old, compute_uv=False)[0]
    np.testing.assert_allclose(new, old / top, rtol=1e-3, atol=1e-5)


def test_only_kernels_change():
  _, params = params_of()
  params = jax.tree.map(lambda p: p + 1.0, params)
  new = spectral.normalize(params, spectral.start(jax.random.key(1), params))
  for (path, old), leaf in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(new), strict=True):
    assert (old == leaf).all() == (path[-1].key != "kernel")


def test_gradients_flow_through_the_singular_value():
  """W / sigma(W) does not change with the scale of W, so that its gradient is orthogonal to W."""
  w = jax.random.normal(jax.random.key(0), (6, 4))
  params = {"kernel": w}
  u = spectral.start(jax.random.key(1), params)
  u = jax.lax.fori_loop(0, 100, lambda i, u: spectral.iterate(params, u), u)
  c = jax.random.normal(jax.random.key(2), w.shape)
  grad = jax.grad(lambda w: jnp.vdot(c, spectral.normalize({"kernel": w}, u)["kernel"]))(w)
  assert abs(float(jnp.vdot(grad, w))) < 1e-4 * float(jnp.linalg.norm(grad) * jnp.linalg.norm(w))


def test_a_normalised_discriminator_is_nearly_lipschitz():
  """Dense layers have norm 1 and a 4x4 kernel of stride 2 at most 2 (each pixel is in 4 windows)."""
  net, params = params_of()
  u = spectral.start(jax.random.key(1), params)
  u = jax.lax.fori_loop(0, 300, lambda i, u: spectral.iterate(params, u), u)
  apply = lambda x: net.apply(spectral.normalize(params, u), x)
  x, y = jax.random.normal(jax.random.key(2), (2, 64, 8, 8, 1))
  change = jnp.abs(apply(x) - apply(y)) / jnp.linalg.norm((x - y).reshape(64, -1), axis=1)
  assert change.max() < 4.0
