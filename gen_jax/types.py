"""Names for the few shapes of thing that pass between rooms."""

import dataclasses
from typing import Any, Literal

import jax

Array = jax.Array
Key = jax.Array  # a typed PRNG key, from jax.random.key
PyTree = Any
Batch = dict[str, Array]  # "x" [B, *shape]; "label" int32 [B] where there are classes; the spec's other entries
Cond = dict[str, Array] | None  # the entries of a batch that a model is conditioned on
Metrics = dict[str, Array]  # scalars of a step, arrays of a report


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
  """Something in a batch that a model can be conditioned on. Zeros, but for a label, ask for nothing in particular.

  Attributes:
    name: its name in the batch.
    kind: "label": int32 [B], a class;
      "text": int32 [B, L], bytes of UTF-8, filled up with zeros;
      "vectors": float32 [B, T, E], embeddings of tokens, filled up with zero vectors;
      "boxes": float32 [B, N, 5], rows of class, top, left, bottom and right, in units of the canvas (0 to 1), filled up
      with zeros;
      "image": float32 [B, H, W, C] in [-1, 1];
      "vector": float32 [B, D], any reals;
      "map": int32 [B, H, W], the class of each pixel, 0 for the background.
    shape: of one example.
    size: number of classes, of the kinds that have them.
  """

  name: str
  kind: Literal["label", "text", "vectors", "boxes", "image", "vector", "map"]
  shape: tuple[int, ...] = ()
  size: int = 0

  @property
  def dtype(self) -> str:
    """Of its arrays."""
    return "int32" if self.kind in ("label", "text", "map") else "float32"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
  """What one example of a data set is.

  Attributes:
    shape: shape of `x`: (H, W, C) for images and for grids of codes, (D,) for vectors.
    kind: "image": floats in [-1, 1] on a grid of `levels` values; "vector": any reals.
    classes: number of classes of `label`; 0 where there are no labels.
    levels: how many values a pixel can take: level k is x = 2 k / (levels - 1) - 1. 0 for vectors.
    extra: what a batch holds beside `x` and `label`.
  """

  shape: tuple[int, ...]
  kind: Literal["image", "vector"]
  classes: int = 0
  levels: int = 0
  extra: tuple[Entry, ...] = ()

  @property
  def entries(self) -> dict[str, Entry]:
    """What a model of these data can be conditioned on, by name."""
    label = [Entry(name="label", kind="label", size=self.classes)] if self.classes else []
    return {entry.name: entry for entry in (*label, *self.extra)}
