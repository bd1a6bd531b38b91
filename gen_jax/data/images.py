"""What all sources of images share: from stored pixel values to what a model sees, and back."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.types import Array, Batch, Key, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images:
  """Base of sources whose raw rows are pixel values 0 .. `levels` - 1 in uint8, [B, H, W, C].

  Attributes:
    flip: mirror each training image left to right with probability 1/2.
    binarize: "dynamic" draws every pixel from a Bernoulli with the pixel's intensity as its probability, anew each time
      an image is seen (arXiv 1509.00519, section 5); the pixels are then -1 or 1.
  """

  flip: bool = False
  binarize: Literal["none", "dynamic"] = "none"

  shape: ClassVar[tuple[int, ...]]
  classes: ClassVar[int]
  levels: ClassVar[int] = 256

  @property
  def spec(self) -> Spec:
    levels = 2 if self.binarize == "dynamic" else self.levels
    return Spec(shape=self.shape, kind="image", classes=self.classes, levels=levels)

  def prepare(self, key: Key, raw: Batch, training: bool) -> Batch:
    """Raw rows -> x float32 [B, H, W, C] in [-1, 1], label int32 [B]. Every draw comes from `key`."""
    key_flip, key_binarize = jax.random.split(key)
    batch = {**raw, "x": scale(raw["x"], self.levels)}
    if self.flip and training:
      batch["x"] = random_flip(key_flip, batch["x"])
    if self.binarize == "dynamic":
      batch["x"] = bernoulli(key_binarize, batch["x"])
    return batch


def scale(k: Array, levels: int) -> Array:
  """Level k of `levels` -> 2 k / (levels - 1) - 1, float32 in [-1, 1]."""
  return 2.0 * k.astype(jnp.float32) / (levels - 1) - 1.0


def random_flip(key: Key, x: Array) -> Array:
  """Mirrors each image of [B, H, W, C] left to right with probability 1/2."""
  mirrored = jax.random.bernoulli(key, 0.5, (x.shape[0], 1, 1, 1))
  return jnp.where(mirrored, x[:, :, ::-1], x)


def bernoulli(key: Key, x: Array) -> Array:
  """1 with probability (x + 1) / 2 and -1 otherwise, for each entry of x in [-1, 1]."""
  return jnp.where(jax.random.bernoulli(key, (x + 1.0) / 2.0), 1.0, -1.0)


def to_uint8(x: Array | np.ndarray) -> Array | np.ndarray:
  """[-1, 1] -> 0 .. 255, rounded and clipped; NumPy in, NumPy out."""
  return ((x + 1.0) * 127.5).round().clip(0, 255).astype("uint8")
