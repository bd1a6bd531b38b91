"""Feature extractors: what turns samples into the vectors that distances compare.

An evaluation names one of the functions here, `features="features.digits"`. Distances depend on the features, so they
are always named together: "Frechet distance (digits features)". None of these is Inception, and none of the distances
is an FID.

The classifiers are small convolutional nets that `train_features` trains on the training split, with no part in any
generative model. Their weights, their accuracy and how they came about lie in `weights/`.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.errors import InputError
from gen_jax.ops.convolution import convolve
from gen_jax.ops.shapes import batches
from gen_jax.types import Array

_WEIGHTS = pathlib.Path(__file__).parent / "weights"
_BATCH = 500


@dataclasses.dataclass(frozen=True)
class Extractor:
  """A map from examples to features.

  Attributes:
    name: what distances between its features are called after.
    embed: x [N, *shape] -> (features [N, D], class probabilities [N, C] or None); float32 on the host.
    about: how good it is, for records.
  """

  name: str
  embed: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
  about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def check(self, shape: tuple[int, ...]) -> None:
    """Raises InputError where examples of `shape` are not what it takes."""
    wanted = tuple(self.about.get("shape", shape))
    if shape != wanted:
      raise InputError(
        f"features.{self.name} takes examples of shape {wanted}, not {shape}: set evaluate.features=features.identity"
      )


def identity() -> Extractor:
  """The examples themselves, flattened: coordinates of vectors, pixels of images."""
  return Extractor("identity", lambda x: (np.asarray(x, np.float32).reshape(len(x), -1), None))


def digits() -> Extractor:
  """A classifier of scikit-learn's digits, 8x8x1."""
  return _trained("digits")


def mnist() -> Extractor:
  """A classifier of MNIST, 28x28x1."""
  return _trained("mnist")


def cifar10() -> Extractor:
  """A classifier of CIFAR-10, 32x32x3, that was trained on a fifth of it."""
  return _trained("cifar10")


def forward(weights: dict[str, Array], x: Array, strides: tuple[int, ...]) -> tuple[Array, Array]:
  """Features and logits of a classifier.

  Args:
    weights: kernels and biases: conv0, conv1, ... (HWIO), then `features` and `logits`, both dense.
    x: images [B, H, W, C] in [-1, 1].
    strides: one per convolution.

  Returns:
    features [B, D], not negative, and logits [B, classes].
  """
  h = convolutions(weights, x, strides)[-1].reshape(len(x), -1)
  features = jax.nn.relu(h @ weights["features_kernel"] + weights["features_bias"])
  return features, features @ weights["logits_kernel"] + weights["logits_bias"]


def convolutions(weights: Mapping[str, Array], x: Array, strides: tuple[int, ...]) -> tuple[Array, ...]:
  """What each convolution of a classifier makes of x [B, H, W, C] in [-1, 1]: [B, height, width, channels] each."""
  out = [x]
  for i, stride in enumerate(strides):
    out.append(jax.nn.relu(convolve(out[-1], weights[f"conv{i}_kernel"], stride) + weights[f"conv{i}_bias"]))
  return tuple(out[1:])


def classifier(name: str, weights: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Extractor:
  """The extractor that a classifier is; `about` has the `shape` of its images and its `strides`."""
  weights = {k: jnp.asarray(v, jnp.float32) for k, v in weights.items()}

  def embed(x):
    extractor.check(x.shape[1:])
    return _embed(weights, tuple(about["strides"]), x)

  extractor = Extractor(name, embed, about)
  return extractor


def save(name: str, weights: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
  """Writes `weights/<name>.npz` and `weights/<name>.json`."""
  _WEIGHTS.mkdir(exist_ok=True)
  np.savez_compressed(_WEIGHTS / f"{name}.npz", **weights)
  (_WEIGHTS / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")


def trained(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """(float32 weights, what is known of them) of a classifier in `weights/`."""
  with np.load(_WEIGHTS / f"{name}.npz", allow_pickle=False) as file:
    weights = {k: v.astype(np.float32) for k, v in file.items()}
  return weights, json.loads((_WEIGHTS / f"{name}.json").read_text())


@functools.cache
def _trained(name: str) -> Extractor:
  return classifier(name, *trained(name))


def _embed(weights, strides, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  out = []
  for rows in batches(len(x), _BATCH):
    out.append(jax.device_get(_forward(weights, x[rows], strides)))
  features, probabilities = (np.concatenate(parts)[: len(x)] for parts in zip(*out, strict=True))
  return features, probabilities


@functools.partial(jax.jit, static_argnames="strides")
def _forward(weights, x, strides):
  features, logits = forward(weights, x, strides)
  return features, jax.nn.softmax(logits)
