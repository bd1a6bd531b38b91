"""Conditions as people write them: one clear line for each that cannot be."""

import numpy as np
import pytest

from gen_jax.data import entries
from gen_jax.errors import InputError
from gen_jax.types import Entry

LABEL = Entry(name="label", kind="label", size=10)
CAPTION = Entry(name="caption", kind="text", shape=(6,))
BOXES = Entry(name="boxes", kind="boxes", shape=(2, 5), size=10)
MAP = Entry(name="map", kind="map", shape=(2, 3), size=4)
SMALL = Entry(name="small", kind="image", shape=(2, 2, 1))


def test_rows_are_repeated_and_have_the_dtype_of_the_entry():
  np.testing.assert_array_equal(entries.rows(LABEL, 3, 4), [3, 3, 3, 3])
  np.testing.assert_array_equal(entries.rows(LABEL, [1, 2], 2), [1, 2])
  assert entries.rows(LABEL, np.array([1.0, 2.0]), 2).dtype == np.int32
  small = entries.rows(SMALL, np.ones((2, 2, 1)), 3)
  assert small.shape == (3, 2, 2, 1) and small.dtype == np.float32


def test_texts_are_bytes():
  rows = entries.rows(CAPTION, ["a six", "né"], 2)
  assert [bytes(r.astype(np.uint8)) for r in rows] == [b"a six\0", "né".encode() + b"\0\0\0"]
  np.testing.assert_array_equal(entries.rows(CAPTION, "a six", 2), rows[[0, 0]])


def test_missing_boxes_are_empty():
  box = [3, 0.1, 0.2, 0.5, 1.0]
  rows = entries.rows(BOXES, [box], 2)
  np.testing.assert_allclose(rows, [[box, [0] * 5]] * 2, rtol=1e-6)


@pytest.mark.parametrize(
  "entry, value, message",
  [
    (LABEL, 10, "label = 10 should be a class from 0 to 9"),
    (LABEL, [1, 2, 3], r"should have shape \(2,\)"),
    (LABEL, "six", "label = 'six' should be a number"),
    (LABEL, [2.7, 1.0], "should be a class from 0 to 9"),
    (LABEL, [np.nan, 1.0], "label holds numbers that are not finite"),
    (LABEL, [None, 1], "label should be numbers or strings, in rows of one length"),
    (LABEL, [[1], [1, 2]], "label should be numbers or strings, in rows of one length"),
    (CAPTION, b"a six", "numbers or strings"),
    (BOXES, [[1, 0.1, 0.2, np.nan, 0.4]], "boxes holds numbers that are not finite"),
    (BOXES, [[1, 0.5, 0.2, 0.3, 0.4]], "outside the canvas, upside down or without"),
    (CAPTION, "a three", "'a three' has 7 bytes, and the text encoder takes 6"),
    (CAPTION, np.full(6, 300), "from 0 to 255"),
    (BOXES, [[1, 0.5, 0.2, 1.25, 0.4]], r"the box \(0.5, 0.2, 1.25, 0.4\) is outside the canvas"),
    (BOXES, [[1, -0.5, 0.2, 0.25, 0.4]], "outside the canvas"),
    (BOXES, [[1, 0.5, 0.2, 0.5, 0.4]], "without an area"),
    (BOXES, [[11, 0.1, 0.2, 0.3, 0.4]], "from 0 to 9"),
    (BOXES, np.zeros((3, 5)), r"should have shape \(2, 2, 5\)"),
    (MAP, np.full((2, 3), 4), "from 0 to 3"),
    (SMALL, np.zeros((3, 3, 1)), "should have shape"),
  ],
)
def test_bad_input(entry, value, message):
  with pytest.raises(InputError, match=message):
    entries.rows(entry, value, 2)
