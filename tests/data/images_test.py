import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.data import images


class Tiny(images.Images):
  shape = (2, 3, 1)
  classes = 4
  levels = 17


def raw(num):
  rng = np.random.default_rng(0)
  return {"x": rng.integers(0, 17, (num, 2, 3, 1), dtype=np.uint8), "label": rng.integers(0, 4, num, dtype=np.int32)}


def test_levels_are_those_of_the_spec():
  levels = np.arange(17, dtype=np.uint8)
  x = np.asarray(images.scale(jnp.asarray(levels), 17))
  assert (x[0], x[8], x[-1]) == (-1.0, 0.0, 1.0)
  np.testing.assert_allclose(np.diff(x), 1 / 8, rtol=1e-6)


def test_prepare_keeps_pixels_and_labels():
  rows = raw(5)
  batch = jax.jit(Tiny().prepare, static_argnums=2)(jax.random.key(0), rows, True)
  assert batch["x"].dtype == jnp.float32
  assert batch["label"].dtype == jnp.int32
  np.testing.assert_array_equal(np.round((np.asarray(batch["x"]) + 1) * 8), rows["x"])
  np.testing.assert_array_equal(batch["label"], rows["label"])


def test_flip_mirrors_half_of_the_training_images():
  rows = raw(2000)
  source = Tiny(flip=True)
  plain = np.asarray(images.scale(jnp.asarray(rows["x"]), 17))
  x = np.asarray(source.prepare(jax.random.key(1), rows, True)["x"])
  asymmetric = (plain != plain[:, :, ::-1]).any((1, 2, 3))
  kept, mirrored = ((x == v).all((1, 2, 3)) for v in (plain, plain[:, :, ::-1]))
  assert (kept | mirrored).all()
  assert abs(mirrored[asymmetric].mean() - 0.5) < 0.05
  np.testing.assert_array_equal(source.prepare(jax.random.key(1), rows, False)["x"], plain)


@pytest.mark.parametrize("training", [True, False])
def test_binarize_draws_pixels_with_their_intensity(training):
  source = Tiny(binarize="dynamic")
  assert source.spec.levels == 2
  rows = {"x": np.broadcast_to(np.array([0, 4, 12, 16], np.uint8)[:, None, None, None], (4, 100, 100, 1))}
  draw = lambda seed: np.asarray(source.prepare(jax.random.key(seed), rows, training)["x"])
  x = draw(0)
  assert set(np.unique(x)) == {-1.0, 1.0}
  np.testing.assert_allclose((x == 1).mean((1, 2, 3)), [0, 0.25, 0.75, 1], atol=0.02)
  np.testing.assert_array_equal(x, draw(0))
  assert (x != draw(1)).any()


def test_to_uint8_undoes_prepare_and_clips():
  levels = np.arange(256, dtype=np.uint8)
  np.testing.assert_array_equal(images.to_uint8(images.scale(jnp.asarray(levels), 256)), levels)
  x = np.array([-3.0, -1.0, 1 / 255 - 1, 0.9999, 1.0, 2.0], np.float32)
  ours = images.to_uint8(x)
  assert isinstance(ours, np.ndarray)
  assert ours.tolist() == [0, 0, 0, 255, 255, 255]
  assert images.to_uint8(jnp.asarray(x)).dtype == jnp.uint8
