"""Distances between estimates, on numbers done by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.ops import distances
from gen_jax.resolve import build

A = jnp.array([[[3.0], [0.0]], [[1.0], [1.0]]])
B = jnp.zeros((2, 2, 1))


@pytest.mark.parametrize(
  "distance, expected",
  [
    (distances.l1(), [1.5, 1.0]),
    (distances.l2(), [4.5, 1.0]),
    (distances.pseudo_huber(c=1.0), [np.sqrt(5.5) - 1, np.sqrt(2.0) - 1]),
  ],
)
def test_by_hand(distance, expected):
  np.testing.assert_allclose(distance(A, B), expected, rtol=1e-6)
  np.testing.assert_allclose(distance(A, A), 0.0, atol=1e-6)


def test_perceptual_compares_directions_of_features():
  """Two layers: the image itself, whose pixels are vectors of two channels, and twice their sum."""
  features = lambda x: (x, 2 * x.sum((1, 2)))
  a, b = jnp.array([[[[1.0, 0.0], [2.0, 0.0]]]]), jnp.array([[[[5.0, 0.0], [0.0, 3.0]]]])
  sums = np.array([1.0, 0.0]) - np.array([5.0, 3.0]) / np.sqrt(34)
  expected = (0 + 2) / 2 + np.mean(np.sum(sums**2))
  np.testing.assert_allclose(distances.Perceptual(features)(a, b), [expected], rtol=1e-5)


def test_perceptual_of_a_classifier_sees_shapes_before_shades():
  """A digit that is a little darker everywhere is nearer than one that is as far in pixels, with its parts moved."""
  x = build("data", "digits.Digits").split("test")[np.arange(8)]["x"] / np.float32(8) - 1
  darker = x - 0.2
  moved = np.roll(x, 1, axis=2)
  moved = x + (moved - x) * np.sqrt(np.square(darker - x).mean() / np.square(moved - x).mean())
  distance = build("ops", dict(name="distances.Perceptual", features="activations.digits"))
  np.testing.assert_allclose(distances.l2()(darker, x).mean(), distances.l2()(moved, x).mean(), rtol=1e-4)
  assert distance(darker, x).mean() < distance(moved, x).mean()
  with pytest.raises(InputError, match=r"activations.mnist are of images of shape \(28, 28, 1\), not \(8, 8, 1\)"):
    build("ops", dict(name="distances.Perceptual", features="activations.mnist"))(x, x)
