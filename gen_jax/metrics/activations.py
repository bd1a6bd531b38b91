"""What the layers of a classifier make of images: what `distances.Perceptual` compares.

The classifiers are those of `features`, which are then no fair judges of what was trained with them.
"""

from collections.abc import Callable

from gen_jax.errors import InputError
from gen_jax.metrics import features
from gen_jax.types import Array

Activations = Callable[[Array], tuple[Array, ...]]  # [B, H, W, C] in [-1, 1] -> [B, height, width, channels] per layer


def digits() -> Activations:
  """The three convolutions of the classifier of scikit-learn's digits, 8x8x1."""
  return _of("digits")


def mnist() -> Activations:
  """The three convolutions of the classifier of MNIST, 28x28x1."""
  return _of("mnist")


def _of(name: str) -> Activations:
  weights, about = features.trained(name)

  def activations(x):
    if list(x.shape[1:]) != list(about["shape"]):
      raise InputError(f"activations.{name} are of images of shape {tuple(about['shape'])}, not {x.shape[1:]}")
    return features.convolutions(weights, x, tuple(about["strides"]))

  return activations
