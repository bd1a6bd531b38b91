"""The reader finds what is there, and does not find what is not."""

import types

import numpy as np
import pytest

from gen_jax.data.digit_scenes import DigitScenes
from gen_jax.data.digits import Digits
from gen_jax.errors import InputError
from gen_jax.metrics import features
from gen_jax.metrics.scenes import Reader, of_boxes, of_captions, scenes
from gen_jax.types import Spec

SIZE = (20, 24)


@pytest.fixture(scope="module")
def real():
  source = DigitScenes(digits=Digits(), shrink=1, height=SIZE[0], width=SIZE[1], num_test=600)
  raw = source.split("test")[np.arange(600)]
  return raw, raw["x"] / 127.5 - 1.0


def score(x, asked):
  return scenes(x, asked, 8, features.digits())


@pytest.mark.parametrize("kind", ("boxes", "captions"))
def test_real_scenes_are_read_and_shuffled_ones_are_not(real, kind):
  """The floor is near the reader's accuracy, 99.2%; of scenes that were dealt out anew, chance remains."""
  raw, x = real
  asked = of_boxes(raw["boxes"], SIZE) if kind == "boxes" else of_captions(raw["caption"], SIZE)
  floor, shuffled = score(x, asked), score(np.roll(x, 1, axis=0), asked)
  assert floor.digits > 0.95 and floor.scenes > 0.93 and floor.stray < 0.01
  assert shuffled.digits < 0.15 and shuffled.scenes < 0.08
  assert shuffled.scenes < shuffled.digits
  if kind == "boxes":
    assert shuffled.stray > 0.3


def test_colours_are_read_like_grey(real):
  raw, x = real
  source = DigitScenes(digits=Digits(), shrink=1, height=SIZE[0], width=SIZE[1], num_test=600, colour=True)
  coloured = source.split("test")[np.arange(600)]["x"] / 127.5 - 1.0
  asked = of_boxes(raw["boxes"], SIZE)
  assert coloured.shape == (600, *SIZE, 3) and score(coloured, asked) == score(x, asked)


def test_a_faint_haze_is_no_stray_ink(real):
  raw, x = real
  asked = of_boxes(raw["boxes"], SIZE)
  assert score(np.maximum(x, -0.9), asked).stray < 0.01


def test_the_place_counts(real):
  """Digits on the wrong side of each other are not found, and neither is a digit that is not there."""
  raw, x = real
  asked = of_captions(raw["caption"], SIZE)
  pairs = asked.classes[:, 1] >= 0
  differ = pairs & (asked.classes[:, 0] != asked.classes[:, 1])
  swapped = asked._replace(places=asked.places[:, ::-1])
  wrong = score(x[differ], type(asked)(*(a[differ] for a in swapped)))
  assert wrong.digits < 0.1 and wrong.scenes == 0.0
  black = score(np.full_like(x, -1.0), asked)
  assert black == (0.0, 0.0, 0.0)


def test_what_conditions_ask_for():
  boxes = np.array([[[3, 0.1, 0.25, 0.5, 0.5], [0, 0, 0, 0, 0]]])
  asked = of_boxes(boxes, SIZE)
  np.testing.assert_array_equal(asked.classes, [[3, -1]])
  np.testing.assert_array_equal(asked.places[0, 0], [1, 5, 11, 13])  # a pixel around the box
  text = lambda words: np.frombuffer(words.ljust(30, "\0").encode(), np.uint8)
  asked = of_captions([text("an eight"), text("a six below a one")], SIZE)
  np.testing.assert_array_equal(asked.classes, [[8, -1], [6, 1]])
  np.testing.assert_array_equal(asked.places[1], [[10, 0, 20, 24], [0, 0, 10, 24]])
  with pytest.raises(InputError, match="did you mean 'left of'"):
    of_captions([text("a six lft of a one")], SIZE)
  with pytest.raises(InputError, match="did you mean 'six'"):
    of_captions([text("a sixx")], SIZE)


@pytest.mark.parametrize("single", [0.5, 1.0])
def test_a_class_alone_asks_for_scenes_of_one_digit(single):
  """Of two digits a class-conditional model was told one: that it does not draw the other is no fault of its."""
  source = DigitScenes(digits=Digits(), shrink=1, height=SIZE[0], width=SIZE[1], num_test=50, single=single)
  rows = source.split("test")[np.arange(50)]
  rows["x"] = rows["x"] / 127.5 - 1.0
  scores = Reader().score(source, ("label",), rows, rows["x"])
  assert scores == {} if single < 1 else scores["digits_found"] > 0.9


def test_other_data_are_refused():
  with pytest.raises(InputError, match="reads digit scenes, not Digits"):
    Reader().score(Digits(), ("label",), {}, np.zeros((1, 8, 8, 1)))
  strange = types.SimpleNamespace(spec=Spec(shape=(16, 16, 1), kind="image", levels=256, classes=10))
  with pytest.raises(InputError, match="reads no digits of 16 pixels"):
    Reader().check(DigitScenes(digits=strange, shrink=1, height=40, width=40))
