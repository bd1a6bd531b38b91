"""Whether samples of digit scenes show what was asked for: the classes, at the places, as a digit reader sees them."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.data.digit_scenes import INK, WORDS, DigitScenes
from gen_jax.errors import InputError, near
from gen_jax.metrics import features
from gen_jax.metrics.features import Extractor

_READERS = {28: features.mnist, 8: features.digits}  # by the size of their digits
_MARGIN = 1  # pixels around a box that still belong to it
_FAINT = 0.02  # share of a window that is ink: with less there is no digit to read


class Asked(NamedTuple):
  """What scenes should show: up to two digits each.

  Attributes:
    classes: int [N, 2]; -1 for no digit.
    places: int [N, 2, 4], the top, left, bottom and right in pixels of where it should be.
  """

  classes: np.ndarray
  places: np.ndarray


class Scores(NamedTuple):
  """What was found.

  Attributes:
    digits: share of the digits asked for that are read as their class at their place.
    scenes: share of the scenes in which all digits are.
    stray: mean share of the pixels of a scene with ink that lie at no place that was asked for.
  """

  digits: float
  scenes: float
  stray: float


@dataclasses.dataclass(frozen=True)
class Reader:
  """For `evaluate.judge`: whether samples show what their conditions ask for."""

  def check(self, source: Any) -> None:
    """Raises InputError for data of another kind, or digits of a size that there is no classifier for."""
    if not isinstance(source, DigitScenes):
      raise InputError(f"scenes.Reader reads digit scenes, not {type(source).__name__}: set evaluate.judge to None")
    if (side := source.digits.spec.shape[0]) not in _READERS:
      raise InputError(f"scenes.Reader reads no digits of {side} pixels: set evaluate.judge to None")

  def score(
    self, source: DigitScenes, conditions: tuple[str, ...], rows: dict[str, np.ndarray], x: np.ndarray
  ) -> dict[str, float]:
    """Whether samples show what their conditions ask for, and, as `*_floor`, whether the real scenes do.

    Told only in words or by a class, the places are those that words have; otherwise they are the boxes of the scene.

    Args:
      source: the data.
      conditions: what the samples were conditioned on; () gives no scores, nor does a class alone of two digits.
      rows: the test rows whose conditions those are.
      x: a sample for each of them, [N, H, W, C].

    Raises:
      InputError: data of another kind.
    """
    self.check(source)
    if not conditions or (set(conditions) == {"label"} and source.single < 1):  # which says nothing of the second digit
      return {}
    worded = set(conditions) <= {"label", "caption", "embedding"}
    size = source.spec.shape[:2]
    asked = of_captions(rows["caption"], size) if worded else of_boxes(rows["boxes"], size)
    extractor = _READERS[source.digits.spec.shape[0]]()
    found, floor = (scenes(images, asked, source.side, extractor) for images in (x, rows["x"]))
    names = ("digits_found", "scenes_right", "stray_ink")
    out = {}
    for name, value, best in zip(names, found, floor, strict=True):
      out |= {name: value, f"{name}_floor": best}
    return out


def scenes(x: np.ndarray, asked: Asked, side: int, reader: Extractor) -> Scores:
  """Reads every place that was asked for.

  The reader sees a square of `side` pixels, enlarged to its own size, whose middle is the centre of mass of the ink at
  that place: how MNIST's digits were centred.

  Args:
    x: samples [N, H, W, C] in [-1, 1]; of colours, the brightest channel is read.
    asked: what they should show.
    side: height and width of a digit's square.
    reader: classifier of single digits, such as `features.mnist()`.
  """
  ink = np.clip((np.asarray(x, np.float64).max(-1) + 1) / 2, 0, 1)
  rows, columns = np.indices(ink.shape[1:])
  top, left, bottom, right = np.moveaxis(asked.places, -1, 0)[..., None, None]
  inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)  # [N, 2, H, W]
  there = ink[:, None] * inside
  mass = there.sum((2, 3))
  centre = [(there * axis).sum((2, 3)) / np.maximum(mass, 1e-9) for axis in (rows, columns)]
  wanted = asked.classes >= 0
  n, d = np.nonzero(wanted)
  windows = _windows(ink, n, centre[0][n, d], centre[1][n, d], side)
  _, probabilities = reader.embed(_enlarged(windows, reader.about["shape"][0]))
  found = np.zeros(wanted.shape, bool)
  found[n, d] = (probabilities.argmax(-1) == asked.classes[n, d]) & (windows.mean((1, 2)) > _FAINT)
  covered = (inside & wanted[..., None, None]).any(1)
  inked = ink > INK / 255  # what is fainter, as all over a sample, is no digit
  stray = (inked & ~covered).sum((1, 2)) / np.maximum(inked.sum((1, 2)), 1)
  return Scores(float(found[wanted].mean()), float((found | ~wanted).all(1).mean()), float(stray.mean()))


def of_boxes(boxes: np.ndarray, size: tuple[int, int]) -> Asked:
  """What the condition `boxes` [N, 2, 5] asks for, on a canvas of (height, width) pixels."""
  label, sides = boxes[..., 0].astype(np.int64), boxes[..., 1:] * np.tile(size, 2)
  full = (sides[..., 2:] > sides[..., :2]).all(-1)
  margin = _MARGIN * np.array([-1, -1, 1, 1])
  return Asked(np.where(full, label, -1), np.where(full[..., None], np.round(sides) + margin, 0).astype(np.int64))


def of_captions(captions: np.ndarray, size: tuple[int, int]) -> Asked:
  """What captions ask for, bytes [N, L]: one digit anywhere, or one in each half of a canvas of (height, width) pixels.

  Raises:
    InputError: a word that no caption of the scenes has.
  """
  asked = [_parsed(bytes(np.asarray(c, np.uint8)).rstrip(b"\0").decode(), size) for c in captions]
  classes, places = zip(*asked, strict=True)
  return Asked(np.array(classes), np.array(places))


def _parsed(caption: str, size: tuple[int, int]) -> tuple[list[int], list[list[int]]]:
  """The classes and places of one caption."""
  (height, width), words = size, caption.split()
  whole = [0, 0, height, width]
  between = " ".join(words[2:-2])
  if not between:
    return [_digit(words[-1] if words else ""), -1], [whole, whole]
  halves = {
    "left of": ([0, 0, height, width // 2], [0, width // 2, height, width]),
    "above": ([0, 0, height // 2, width], [height // 2, 0, height, width]),
  }
  halves |= {"right of": halves["left of"][::-1], "below": halves["above"][::-1]}
  if between not in halves:
    raise InputError(f"the caption {caption!r} says {between!r}: {near(between, halves)}")
  return [_digit(words[1]), _digit(words[-1])], list(halves[between])


def _digit(word: str) -> int:
  if word not in WORDS:
    raise InputError(f"a caption names the digit {word!r}: {near(word, WORDS)}")
  return WORDS.index(word)


def _windows(ink: np.ndarray, n: np.ndarray, row: np.ndarray, column: np.ndarray, side: int) -> np.ndarray:
  """Squares of `side` pixels around (row, column) of images number n, black beyond the canvas: [K, side, side]."""
  padded = np.pad(ink, [(0, 0), (side, side), (side, side)])
  top, left = (np.round(centre - (side - 1) / 2).astype(np.int64) + side for centre in (row, column))
  steps = np.arange(side)
  return padded[n[:, None, None], top[:, None, None] + steps[:, None], left[:, None, None] + steps]


def _enlarged(windows: np.ndarray, size: int) -> np.ndarray:
  """Squares in [0, 1] as the reader's images [K, size, size, 1] in [-1, 1].

  Strokes grow paler as a digit is shrunk and they get thinner than a pixel. A gain of the root of the factor makes up
  for it: of real digits at half their size the reader of MNIST reads 99%, as of whole ones, and 90% without.
  """
  gain = (size / windows.shape[1]) ** 0.5
  ink = jax.image.resize(jnp.asarray(windows, jnp.float32), (len(windows), size, size), "lanczos3")
  return 2 * np.clip(gain * np.asarray(ink), 0, 1)[..., None] - 1
