"""Trains the classifiers whose features and probabilities evaluations use, and writes them to `weights/`.

    python -m gen_jax.metrics.train_features digits
    python -m gen_jax.metrics.train_features mnist [--manual_dir=FOLDER]
    python -m gen_jax.metrics.train_features cifar10 [--manual_dir=FOLDER, or --images=FOLDER for a part of it]

They are judges of generated images, so they should know when they do not know: a part of every batch is nothing
(pixels of an image in random order, to be called any class alike) or two images at once (to be called each by halves).
"""

import argparse
import dataclasses
import functools
import json
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gen_jax.data.base import Source
from gen_jax.data.digits import Digits
from gen_jax.data.feed import feed
from gen_jax.data.image_folder import ImageFolder
from gen_jax.data.tfds import CIFAR10, MNIST
from gen_jax.errors import InputError
from gen_jax.metrics import features
from gen_jax.metrics.classes import classes
from gen_jax.types import Array, Key

_SURE = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """How one of them is trained.

  Attributes:
    name: of the features.
    kernels: size of each convolution.
    strides: of each convolution.
    widths: channels of each convolution.
    dim: number of features.
    shift: images are moved by up to this many pixels, in each direction.
    epochs: passes over the training split.
    batch_size: images per step.
    lr: peak learning rate of Adam, which falls to 0 as a cosine.
    odd: share of a batch that is nothing, and share that is two images.
    seed: of everything.
  """

  name: str
  kernels: tuple[int, ...]
  strides: tuple[int, ...]
  widths: tuple[int, ...] = (32, 64, 64)
  dim: int = 64
  shift: int
  epochs: int
  batch_size: int
  lr: float = 2e-3
  odd: float = 0.125
  seed: int = 0


RECIPES = {
  "digits": Recipe(name="digits", kernels=(3, 3, 3), strides=(1, 2, 1), shift=1, epochs=80, batch_size=64),
  "mnist": Recipe(name="mnist", kernels=(5, 3, 3), strides=(2, 2, 1), shift=2, epochs=12, batch_size=250),
  "cifar10": Recipe(
    name="cifar10",
    kernels=(3, 3, 3, 3),
    strides=(1, 2, 2, 2),
    widths=(32, 64, 96, 128),
    shift=4,
    epochs=60,
    batch_size=100,
  ),
}


def initialize(key: Key, recipe: Recipe, shape: tuple[int, ...], num_classes: int) -> dict[str, Array]:
  """Weights as `features.forward` takes them: He's initial values (arXiv:1502.01852, eq. 10), biases 0."""
  h, w, width = shape
  sizes = {}
  for i, (kernel, stride, channels) in enumerate(zip(recipe.kernels, recipe.strides, recipe.widths, strict=True)):
    sizes[f"conv{i}"] = (kernel, kernel, width, channels)
    h, w, width = -(-h // stride), -(-w // stride), channels
  sizes |= {"features": (h * w * width, recipe.dim), "logits": (recipe.dim, num_classes)}
  weights = {}
  for key_layer, (name, size) in zip(jax.random.split(key, len(sizes)), sizes.items(), strict=True):
    std = np.sqrt(2.0 / np.prod(size[:-1]))
    weights[f"{name}_kernel"] = std * jax.random.normal(key_layer, size)
    weights[f"{name}_bias"] = jnp.zeros(size[-1])
  return weights


def move(key: Key, x: Array, most: int) -> Array:
  """Each image of [B, H, W, C] moved by up to `most` pixels up or down and left or right; black comes in."""
  num, *shape = x.shape
  padded = jnp.pad(x, ((0, 0), (most, most), (most, most), (0, 0)), constant_values=-1.0)
  offsets = jax.random.randint(key, (num, 2), 0, 2 * most + 1)
  return jax.vmap(lambda image, o: jax.lax.dynamic_slice(image, (o[0], o[1], 0), shape))(padded, offsets)


def augment(key: Key, x: Array, target: Array, recipe: Recipe) -> tuple[Array, Array]:
  """Images [B, H, W, C] and class probabilities [B, classes] to train on; the first rows are the odd ones."""
  key_move, key_shuffle = jax.random.split(key)
  x = move(key_move, x, recipe.shift)
  num = int(recipe.odd * len(x))
  shuffled = jax.random.permutation(key_shuffle, x[:num].reshape(num, -1), axis=1, independent=True)
  none = jnp.full((num, target.shape[1]), 1.0 / target.shape[1])
  both = slice(num, 2 * num), slice(2 * num, 3 * num)
  halves = [(a[both[0]] + a[both[1]]) / 2 for a in (x, target)]
  x = jnp.concatenate([shuffled.reshape(num, *x.shape[1:]), halves[0], x[2 * num :]])
  return x, jnp.concatenate([none, halves[1], target[2 * num :]])


def train(source: Source, recipe: Recipe, log=print) -> dict[str, Array]:
  """The weights after training on the training split of `source`."""
  spec, steps = source.spec, len(source.split("train")) // recipe.batch_size  # in an epoch
  rows = feed(source, seed=recipe.seed, batch_size=recipe.batch_size)
  key_init, key_train = jax.random.split(jax.random.key(recipe.seed))
  tx = optax.adam(optax.cosine_decay_schedule(recipe.lr, recipe.epochs * steps))

  def loss(weights, key, batch):
    x, target = augment(key, batch["x"], jax.nn.one_hot(batch["label"], spec.classes), recipe)
    _, logits = features.forward(weights, x, recipe.strides)
    return optax.softmax_cross_entropy(logits, target).mean()

  # A call per step: inside a scan, XLA compiles convolutions for CPUs to code that is 40 times slower.
  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(weights, opt, store, item, i):
    value, grads = jax.value_and_grad(loss)(weights, jax.random.fold_in(key_train, i), rows.batch(store, item))
    updates, opt = tx.update(grads, opt)
    return optax.apply_updates(weights, updates), opt, value

  weights = initialize(key_init, recipe, spec.shape, spec.classes)
  opt, values = tx.init(weights), []
  for i in range(recipe.epochs * steps):
    item = jax.tree.map(lambda a: a[0], rows.chunk(i, 1, 1))
    weights, opt, value = step(weights, opt, rows.store, item, i)
    values.append(value)
    if (i + 1) % steps == 0:
      log(f"epoch {(i + 1) // steps}/{recipe.epochs}: loss {np.mean(values[-steps:]):.4f}", flush=True)
  return weights


def rescale(source: Source, weights: dict[str, Array], strides: tuple[int, ...]) -> dict[str, Array]:
  """The same classifier with features of mean square 1 on (2,000) training images: kernel distances have a scale."""
  split = source.split("train")
  rows = split[np.arange(min(2000, len(split)))]
  x = source.prepare(jax.random.key(0), rows, False)["x"]
  size = jnp.sqrt(jnp.mean(features.forward(weights, x, strides)[0] ** 2))
  factors = {"features_kernel": 1 / size, "features_bias": 1 / size, "logits_kernel": size}
  return {k: v * factors.get(k, 1.0) for k, v in weights.items()}


def assess(source: Source, embed) -> dict[str, float]:
  """How good the probabilities are on the test split, and how sure they are of what is none of the classes."""
  raw = _all(source, "test")
  x, label = np.asarray(source.prepare(jax.random.key(0), raw, False)["x"]), raw["label"]
  p = embed(x)[1]
  rng = np.random.default_rng(0)
  other = rng.permutation(len(x))
  shuffled = rng.permuted(x.reshape(len(x), -1), axis=1).reshape(x.shape)
  sure = lambda images: classes(embed(images)[1], _SURE).confident
  return {
    "test_accuracy": float((p.argmax(1) == label).mean()),
    "test_nll": float(-np.log(p[np.arange(len(p)), label]).mean()),
    "test_calibration_error": calibration_error(p, label),
    "test_confident": classes(p, _SURE).confident,
    "confident_on_two_images": sure((x + x[other])[label != label[other]] / 2),
    "confident_on_shuffled_pixels": sure(shuffled),
    "confident_on_noise": sure(rng.uniform(-1, 1, x.shape).astype(np.float32)),
  }


def calibration_error(p: np.ndarray, label: np.ndarray, bins: int = 15) -> float:
  """Mean |confidence - accuracy| over bins of the confidence, of probabilities [N, C] (arXiv:1706.04599, eq. 3)."""
  confidence, right = p.max(1), p.argmax(1) == label
  index = np.minimum((confidence * bins).astype(int), bins - 1)
  gaps = np.bincount(index, confidence, bins) - np.bincount(index, right, bins)
  return float(np.abs(gaps).sum() / len(p))


def _all(source: Source, name: str) -> dict[str, np.ndarray]:
  split = source.split(name)
  return split[np.arange(len(split))]


def _source(name: str, manual_dir: str | None, images: str | None) -> Source:
  mirrored = name == "cifar10"  # of the three, the one whose mirror images are like it
  if images:
    return ImageFolder(path=images, flip=mirrored)
  if name == "digits":
    return Digits()
  return {"mnist": MNIST, "cifar10": CIFAR10}[name](manual_dir=manual_dir, flip=mirrored)


def main() -> int:
  """Trains, writes, and prints what is written beside the weights; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("name", choices=RECIPES)
  parser.add_argument("--manual_dir", help="folder that has the original files of MNIST or CIFAR-10")
  parser.add_argument("--images", help="train on the images of this folder, {train,test}/<class>/<file>")
  flags = parser.parse_args()
  command = f"python -m gen_jax.metrics.train_features {flags.name}" + " --images=FOLDER" * bool(flags.images)
  try:
    about = _write(RECIPES[flags.name], _source(flags.name, flags.manual_dir, flags.images), command)
  except InputError as e:
    print(f"error: {e}", file=sys.stderr)
    return 2
  print(json.dumps(about, indent=2))
  return 0


def _write(recipe: Recipe, source: Source, command: str) -> dict[str, Any]:
  """Trains the classifier, writes it, and returns what is written beside the weights."""
  start = time.process_time()
  weights = rescale(source, train(source, recipe), recipe.strides)
  about = {
    "command": command,
    "shape": source.spec.shape,
    "train_images": len(source.split("train")),
    **dataclasses.asdict(recipe),
    "cpu_minutes": round((time.process_time() - start) / 60, 1),
  }
  weights = {k: np.asarray(v, np.float16) for k, v in weights.items()}
  about |= assess(source, features.classifier(recipe.name, weights, about).embed)
  features.save(recipe.name, weights, about)
  return about


if __name__ == "__main__":
  sys.exit(main())
