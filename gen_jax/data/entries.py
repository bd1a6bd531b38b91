"""Rows of what models are conditioned on, from what a person writes, checked."""

from typing import Any

import jax
import numpy as np

from gen_jax.errors import InputError
from gen_jax.types import Entry


def rows(entry: Entry, value: Any, num: int) -> np.ndarray:
  """`num` rows of `entry`: arrays of its shape, one for each example or one for all.

  A text may also be a string, and boxes a list of any length up to the entry's.

  Raises:
    InputError: another shape, a class that does not exist, a text that is too long, a box outside the canvas.
  """
  try:
    value = np.asarray(value)
  except ValueError:  # rows of several lengths
    value = np.empty(0, object)
  if value.dtype.kind not in "Ubuif":
    raise InputError(f"{entry.name} should be numbers or strings, in rows of one length")
  if value.dtype.kind == "U":
    if entry.kind != "text":
      raise InputError(f"{entry.name} = {str(value.reshape(-1)[0])!r} should be a number")
    value = np.stack([text(str(v), entry.shape[0], entry.name) for v in value.reshape(-1)])
  if entry.kind == "boxes" and value.ndim > 1 and value.shape[-2] < entry.shape[0]:
    missing = entry.shape[0] - value.shape[-2]
    value = np.pad(value, [(0, 0)] * (value.ndim - 2) + [(0, missing), (0, 0)])
  value = value[None] if value.shape == entry.shape else value
  if value.shape[1:] != entry.shape or value.shape[0] not in (1, num):
    raise InputError(f"{entry.name} should have shape {(num, *entry.shape)}, not {value.shape}")
  _check(entry, value)
  return np.broadcast_to(value.astype(entry.dtype), (num, *entry.shape))


def check(entry: Entry, value: Any) -> None:
  """Refuses rows that are none of `entry`; of traced ones only the shape is seen.

  Raises:
    InputError: another shape, a class that does not exist, a box outside the canvas.
  """
  if np.shape(value)[1:] != entry.shape:
    raise InputError(f"{entry.name} should have shape {('rows', *entry.shape)}, not {np.shape(value)}".replace("'", ""))
  if not isinstance(value, jax.core.Tracer):
    _check(entry, np.asarray(value))


def text(words: str, length: int, name: str = "text") -> np.ndarray:
  """The bytes of `words`, int32 [length], filled up with zeros.

  Raises:
    InputError: there are more than `length`.
  """
  data = words.encode()
  if len(data) > length:
    raise InputError(f"{name} {words!r} has {len(data)} bytes, and the text encoder takes {length}: shorten it")
  return np.frombuffer(data.ljust(length, b"\0"), np.uint8).astype(np.int32)


def _check(entry: Entry, value: np.ndarray) -> None:
  """Raises InputError where rows hold what the entry does not admit."""
  if not np.isfinite(value).all():
    raise InputError(f"{entry.name} holds numbers that are not finite")
  classes = value[..., 0] if entry.kind == "boxes" else value
  whole = (classes >= 0) & (classes < entry.size) & (classes == np.floor(classes))
  if entry.kind in ("label", "map", "boxes") and not whole.all():
    raise InputError(f"{entry.name} = {classes[~whole][0]} should be a class from 0 to {entry.size - 1}")
  if entry.kind == "text" and ((value < 0) | (value > 255)).any():
    raise InputError(f"{entry.name} should be bytes from 0 to 255: give a string")
  if entry.kind == "boxes":
    low, high = value[..., 1:3], value[..., 3:5]
    absent = (value == 0).all(-1)  # how a list of boxes is filled up
    bad = ((low < 0) | (high > 1) | (low >= high)).any(-1) & ~absent
    if bad.any():
      sides = ", ".join(f"{side:g}" for side in value[bad][0][1:])
      raise InputError(
        f"{entry.name}: the box ({sides}) is outside the canvas, upside down or without an area: its sides are top, "
        "left, bottom and right, from 0 to 1"
      )
