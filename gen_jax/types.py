"""Names for the few shapes of thing that pass between rooms."""

import dataclasses
from typing import Any, Literal

import jax

Array = jax.Array
Key = jax.Array  # a typed PRNG key, from jax.random.key
PyTree = Any
Batch = dict[str, Array]  # "x" [B, *shape]; "label" int32 [B] where there are classes
Cond = dict[str, Array] | None  # the entries of a batch that a model is conditioned on
Metrics = dict[str, Array]  # scalars


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
  """What one example of a data set is.

  Attributes:
    shape: shape of `x`: (H, W, C) for images, (D,) for vectors.
    kind: "image": floats in [-1, 1] on a grid of `levels` values; "vector": any reals.
    classes: number of classes of `label`; 0 where there are no labels.
    levels: how many values a pixel can take: level k is x = 2 k / (levels - 1) - 1. 0 for vectors.
  """

  shape: tuple[int, ...]
  kind: Literal["image", "vector"]
  classes: int = 0
  levels: int = 0
