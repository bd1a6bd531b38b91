"""Scenes of one or two handwritten digits, with everything that one can say about them.

The digits are those of another source. What a condition says of a scene is known exactly, so that whether samples
follow it can be scored (`metrics.scenes`), not only looked at.
"""

import dataclasses
import functools
import zipfile
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.data import entries
from gen_jax.data.base import Source, Split, SplitName, pick
from gen_jax.data.images import scale
from gen_jax.errors import InputError, at_least, require
from gen_jax.resolve import part
from gen_jax.types import Array, Batch, Entry, Key, Spec

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
BETWEEN = (("left of", "right of"), ("above", "below"))  # by axis: the first digit's view, the second's
_LENGTH = len("an eight right of an eight")  # the longest caption
_SEED = 21  # of the scenes
INK = 64  # a pixel above this level, of 255, belongs to a digit
_PART = 4096  # scenes that are drawn at once


class Plan(NamedTuple):
  """What is drawn, for scenes [N] of up to two digits.

  Attributes:
    row: int [N, 2], the digits, as rows of their split; -1 for none in the second place.
    corner: int [N, 2, 2], the top left of each on the canvas, in pixels.
    axis: int [N], along which the first comes before the second: 0 across, 1 down.
    turned: bool [N], whether the caption starts with the second.
    hue: float [N, 2], the colour of each digit in turns of the colour circle, where there are colours.
  """

  row: np.ndarray
  corner: np.ndarray
  axis: np.ndarray
  turned: np.ndarray
  hue: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class DigitScenes:
  """Digits on a black canvas, one in each half of it, across or down and in line, or one alone anywhere.

  Beside `x` a batch has, each of them something to condition on:
    label: the class of the digit that the caption names first;
    caption: "a three left of a seven", "a six", as bytes;
    embedding: the caption as vectors that were made elsewhere, where there is a file of them;
    boxes: the class of each digit and the box around its ink;
    map: 1 + class for the ink of each digit, 0 for the background;
    small: the scene at a quarter of its height and width;
    edges: how steep the scene is at each pixel, from -1 (flat) to 1;
    masked: the scene with one half of it, across or down, black, and a plane that is 1 there and -1 elsewhere;
    grey: the scene without its colours, where it has some.

  Attributes:
    digits: the source of the digits.
    shrink: whole factor by which they are made smaller.
    height, width: size of the canvas; multiples of 4.
    single: share of scenes with one digit.
    num_train, num_test: number of scenes; the digits of each are those of the split of that name.
    embeddings: an npz file with `captions` [M] and `vectors` [M, T, E]; None for no entry `embedding`.
    colour: whether each digit is painted in a pure hue of its own; of three channels, the brightest is the grey scene.

  Raises:
    InputError: no digits; two of them do not fit on the canvas; no share; no file of embeddings.
  """

  digits: Source = part("data", "tfds.MNIST")
  shrink: int = 2
  height: int = 32
  width: int = 32
  single: float = 0.25
  num_train: int = 60_000
  num_test: int = 10_000
  embeddings: str | None = None
  colour: bool = False

  def __post_init__(self):
    of = self.digits.spec
    if of.classes != len(WORDS) or of.shape[2:] != (1,):
      raise InputError(f"digits: {type(self.digits).__name__} has no grey images of ten digits: choose tfds.MNIST")
    at_least(1, shrink=self.shrink)
    require(single=(self.single, 0 <= self.single <= 1, "in [0, 1]"))
    at_least(2, num_train=self.num_train, num_test=self.num_test)
    if not self._axes or min(self.height, self.width) < self.side or self.height % 4 or self.width % 4:
      raise InputError(
        f"two digits of {self.side} pixels do not fit on {self.height}x{self.width}: choose a canvas, in multiples of "
        f"4, of at least {self.side}x{2 * self.side}"
      )

  @property
  def side(self) -> int:
    """Height and width of the square that holds a digit, in pixels."""
    return self.digits.spec.shape[0] // self.shrink

  @property
  def spec(self) -> Spec:
    of, (h, w), c = self.digits.spec, (self.height, self.width), 3 if self.colour else 1
    extra = [
      Entry(name="caption", kind="text", shape=(_LENGTH,)),
      Entry(name="boxes", kind="boxes", shape=(2, 5), size=of.classes),
      Entry(name="map", kind="map", shape=(h, w), size=1 + of.classes),
      Entry(name="small", kind="image", shape=(h // 4, w // 4, c)),
      Entry(name="edges", kind="image", shape=(h, w, 1)),
      Entry(name="masked", kind="image", shape=(h, w, c + 1)),
    ]
    if self.colour:
      extra.append(Entry(name="grey", kind="image", shape=(h, w, 1)))
    if self.embeddings is not None:
      extra.append(Entry(name="embedding", kind="vectors", shape=next(iter(self._vectors.values())).shape))
    return Spec(shape=(h, w, c), kind="image", classes=of.classes, levels=256, extra=tuple(extra))

  def split(self, name: SplitName) -> Split:
    """The scenes for training or for testing."""
    return pick(self._splits, name)

  def prepare(self, key: Key, raw: Batch, training: bool) -> Batch:
    """Raw rows -> a batch; the half that `masked` hides is drawn from `key`."""
    del training
    x, size = scale(raw["x"], 256), (len(raw["x"]), self.height // 4, 4, self.width // 4, 4, -1)
    batch = {name: raw[name].astype(entry.dtype) for name, entry in self.spec.entries.items() if name in raw}
    small, grey = x.reshape(size).mean((2, 4)), x.max(-1, keepdims=True)
    batch |= {"x": x, "small": small, "edges": _edges(grey), "masked": _mask(key, x)}
    return batch | ({"grey": grey} if self.colour else {})

  @property
  def _axes(self) -> list[int]:
    """The directions along which two digits fit."""
    return [axis for axis, size in enumerate((self.width, self.height)) if size // 2 >= self.side]

  @functools.cached_property
  def _splits(self) -> dict[str, "Scenes"]:
    sizes = {"train": self.num_train, "test": self.num_test}
    return {name: Scenes(self, name, np.random.default_rng((_SEED, i)), n) for i, (name, n) in enumerate(sizes.items())}

  @functools.cached_property
  def _vectors(self) -> dict[str, np.ndarray]:
    path = Path(self.embeddings).expanduser()
    if not path.is_file():
      raise InputError(f"no file of embeddings {path}: give an npz with `captions` [M] and `vectors` [M, T, E]")
    try:
      with np.load(path, allow_pickle=False) as file:
        return dict(zip(map(str, file["captions"]), file["vectors"].astype(np.float32), strict=True))
    except (KeyError, ValueError, zipfile.BadZipFile) as e:
      raise InputError(f"{path} is no npz with `captions` [M] and `vectors` [M, T, E]: {e}") from None

  def _embedded(self, captions: list[str]) -> np.ndarray:
    missing = set(captions) - set(self._vectors)
    if missing:
      raise InputError(f"{self.embeddings} has no vectors for {min(missing)!r}: it needs every caption of the scenes")
    return np.array([self._vectors[c] for c in captions])


class Scenes:
  """A split: plans for all of its scenes, each drawn when it is asked for.

  Args:
    source: what it is a split of.
    name: which.
    rng: draws the plans.
    num: number of scenes.
  """

  def __init__(self, source: DigitScenes, name: str, rng: np.random.Generator, num: int):
    self._source, self._num = source, num
    self._digits = source.digits.split(name)
    side, axis = source.side, rng.choice(source._axes, num)
    size = np.array([source.height, source.width])
    row = rng.integers(len(self._digits), size=(num, 2))
    row[rng.random(num) < source.single, 1] = -1
    along = np.arange(2) == 1 - axis[:, None]  # [N, 2]: which of (top, left) the axis runs along
    paired = (row[:, 1] >= 0)[:, None, None] & along[:, None]
    start = np.where(paired, np.array([0, 1])[:, None] * (size // 2), 0)
    room = np.where(paired, size // 2, size) - side
    corner = start + rng.integers(0, room + 1)
    self._plan = Plan(row, corner, axis, turned=rng.random(num) < 0.5, hue=rng.random((num, 2)))

  def __len__(self) -> int:
    return self._num

  def __getitem__(self, index: np.ndarray) -> dict[str, np.ndarray]:
    parts = [self._draw(index[i : i + _PART]) for i in range(0, len(index), _PART)] or [self._draw(index)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

  def _draw(self, index: np.ndarray) -> dict[str, np.ndarray]:
    source, plan = self._source, Plan(*(a[index] for a in self._plan))
    present = plan.row >= 0
    digits = self._digits[np.maximum(plan.row, 0).reshape(-1)]
    classes = digits["label"].reshape(present.shape)
    levels = _shrunk(digits["x"][..., 0], source.shrink, source.digits.spec.levels)
    levels = np.where(present[..., None, None], levels.reshape(*present.shape, *levels.shape[1:]), 0)
    canvas = np.zeros((*present.shape, source.height, source.width), np.uint8)
    n, d = np.indices(present.shape)[..., None, None]
    place = plan.corner[..., None, None, :] + np.moveaxis(np.indices(levels.shape[2:]), 0, -1)
    canvas[n, d, place[..., 0], place[..., 1]] = levels
    ink = canvas > INK
    x = _painted(canvas, plan.hue) if source.colour else canvas[..., None]
    first = np.where(plan.turned & present[:, 1], 1, 0)
    captions = [caption(c[p], a, t) for c, p, a, t in zip(classes, present, plan.axis, plan.turned, strict=True)]
    out = {
      "x": x.max(1),
      "label": classes[np.arange(len(first)), first].astype(np.int32),
      "caption": np.array([entries.text(c, _LENGTH) for c in captions], np.uint8).reshape(-1, _LENGTH),
      "boxes": _boxes(ink, classes),
      "map": np.where(ink, (1 + classes).astype(np.uint8)[..., None, None], np.uint8(0)).max(1),
    }
    if source.embeddings is not None:
      out["embedding"] = source._embedded(captions)
    return out


def caption(classes: np.ndarray, axis: int, turned: bool) -> str:
  """What a scene with one or two digits shows: those that come first across or down are given first.

  Args:
    classes: of its digits.
    axis: 0 if the second is right of the first, 1 if below it.
    turned: whether to start with the second.
  """
  names = [f"{'an' if c == 8 else 'a'} {WORDS[c]}" for c in classes]
  if len(names) == 1:
    return names[0]
  return f" {BETWEEN[axis][int(turned)]} ".join(names[::-1] if turned else names)


def _shrunk(x: np.ndarray, factor: int, levels: int) -> np.ndarray:
  """Digits [N, H, W] in whole levels -> [N, H / factor, W / factor] in 256 levels."""
  num, h, w = x.shape
  blocks = x[:, : h // factor * factor, : w // factor * factor].reshape(num, h // factor, factor, w // factor, factor)
  total = blocks.sum((2, 4), dtype=np.uint32)
  return np.round(total * np.float32(255 / (levels - 1) / factor**2)).astype(np.uint8)


def _painted(canvas: np.ndarray, hue: np.ndarray) -> np.ndarray:
  """Levels [N, 2, H, W] in pure hues [N, 2], from red over green and blue back to red -> [N, 2, H, W, 3]."""
  distance = np.abs((hue[..., None] - np.array([0, 1, 2]) / 3 + 0.5) % 1.0 - 0.5)  # on the circle, from each channel's
  share = np.clip(2 - 6 * distance, 0, 1).astype(np.float32)
  return np.round(canvas[..., None] * share[:, :, None, None]).astype(np.uint8)


def _boxes(ink: np.ndarray, classes: np.ndarray) -> np.ndarray:
  """The box around each digit's ink [N, 2, H, W] -> class, top, left, bottom, right, or zeros."""
  sides = []
  for axis in (3, 2):  # rows that have ink, then columns
    line = ink.any(axis)
    size = line.shape[-1]
    sides.append((line.argmax(-1) / size, 1 - line[..., ::-1].argmax(-1) / size))
  (top, bottom), (left, right) = sides
  boxes = np.stack([classes, top, left, bottom, right], -1).astype(np.float32)
  return np.where(ink.any((2, 3))[..., None], boxes, 0.0).astype(np.float32)


def _edges(x: Array) -> Array:
  """The norm of the gradient by central differences, [B, H, W, C] -> the same shape, from -1 (none) to 1 (the most)."""
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
  down, across = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1], padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
  return jnp.minimum(jnp.sqrt(down**2 + across**2), 2.0) - 1.0


def _mask(key: Key, x: Array) -> Array:
  """x with one half black, and the plane that says where."""
  batch, height, width, _ = x.shape
  down, across = jnp.arange(height)[:, None] < height // 2, jnp.arange(width) < width // 2
  down, across = jnp.broadcast_to(down, (height, width)), jnp.broadcast_to(across, (height, width))
  halves = jnp.stack([down, ~down, across, ~across])
  hidden = halves[jax.random.randint(key, (batch,), 0, 4)][..., None]
  return jnp.concatenate([jnp.where(hidden, -1.0, x), jnp.where(hidden, 1.0, -1.0)], axis=-1)
