"""Scenes are what their captions, boxes and maps say."""

import colorsys

import jax
import numpy as np
import pytest

from gen_jax.data.digit_scenes import DigitScenes, caption
from gen_jax.data.digits import Digits
from gen_jax.data.tfds import CIFAR10, EMNISTLetters
from gen_jax.errors import InputError


def source(**fields):
  usual = dict(digits=Digits(), shrink=1, height=20, width=24, num_train=300, num_test=100)
  return DigitScenes(**usual | fields)


@pytest.fixture(scope="module")
def scenes():
  s = source()
  raw = s.split("train")[np.arange(300)]
  return s, raw, jax.device_get(jax.jit(s.prepare, static_argnums=2)(jax.random.key(0), raw, True))


def words(row):
  return bytes(row.astype(np.uint8)).rstrip(b"\0").decode()


def test_a_batch_is_what_the_spec_says(scenes):
  s, _, batch = scenes
  assert set(batch) == {"x", *s.spec.entries}
  for name, entry in s.spec.entries.items():
    assert batch[name].shape == (300, *entry.shape) and batch[name].dtype == entry.dtype, name
    if entry.kind == "image":
      assert np.abs(batch[name]).max() < 1 + 1e-6
  assert batch["x"].shape == (300, *s.spec.shape) and np.abs(batch["x"]).max() < 1 + 1e-6


def test_every_scene_can_be_drawn_alone(scenes):
  s, raw, _ = scenes
  again = source().split("train")[np.array([7, 3, 299])]
  assert all((again[name] == raw[name][[7, 3, 299]]).all() for name in raw)
  other = s.split("test")[np.arange(100)]
  assert (other["x"] != raw["x"][:100]).any((1, 2, 3)).all()
  assert len(s.split("train")[np.arange(0)]["x"]) == 0


def test_the_digits_are_the_source_s(scenes):
  """The window of every digit that stands alone is, pixel for pixel, one of the split's images of its class."""
  s, raw, _ = scenes
  alone = np.flatnonzero((raw["boxes"][:, 1] == 0).all(-1))
  assert 0.15 < len(alone) / 300 < 0.35
  digits = s.digits.split("train")
  rows = digits[np.arange(len(digits))]
  images = np.round(rows["x"] * np.float32(255 / 16)).astype(np.uint8)
  known = {(x.tobytes(), int(y)) for x, y in zip(images, rows["label"], strict=True)}
  for i in alone[:20]:
    x, found = raw["x"][i], False
    for top in range(13):
      for left in range(17):
        found |= (x[top : top + 8, left : left + 8].tobytes(), int(raw["label"][i])) in known
    assert found


def test_captions_tell_the_truth(scenes):
  _, raw, _ = scenes
  names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
  seen = set()
  for text, boxes, label in zip(raw["caption"], raw["boxes"], raw["label"], strict=True):
    first, _, second = (words(text).replace("an ", "a ").removeprefix("a ") + " a ").partition(" a ")
    first, _, relation = first.partition(" ")
    assert names[label] == first
    middle = (boxes[:, 1:3] + boxes[:, 3:5]) / 2
    if not relation:
      assert names[int(boxes[0, 0])] == first
      continue
    axis, after = {"left of": (1, 0), "right of": (1, 1), "above": (0, 0), "below": (0, 1)}[relation]
    order = np.argsort(middle[:, axis])
    order = order[::-1] if after else order
    assert [names[int(c)] for c in boxes[order, 0]] == [first, second.removesuffix(" a ").strip()]
    seen.add(relation)
  assert len(seen) == 4


def test_captions_have_the_right_articles():
  assert caption(np.array([8]), 0, True) == "an eight"
  assert caption(np.array([8, 1]), 0, False) == "an eight left of a one"
  assert caption(np.array([8, 1]), 1, True) == "a one below an eight"


def test_boxes_and_maps_hold_the_ink(scenes):
  """Each box is the smallest around the pixels that the map gives to its digit."""
  s, raw, _ = scenes
  size = np.array([s.height, s.width])
  ink = raw["x"][..., 0] > 64
  np.testing.assert_array_equal(raw["map"] > 0, ink)
  for boxes, classes in zip(raw["boxes"], raw["map"], strict=True):
    covered = np.zeros_like(classes, bool)
    for box in boxes[boxes[:, 3] > 0]:
      top, left, bottom, right = np.round(box[1:] * np.tile(size, 2)).astype(int)
      part = classes[top:bottom, left:right]
      assert (np.unique(part[part > 0]) == box[0] + 1).all()
      assert all(edge.any() for edge in (part[0], part[-1], part[:, 0], part[:, -1]))
      covered[top:bottom, left:right] = True
    assert not (classes[~covered] > 0).any()


def test_images_of_the_scene(scenes):
  s, _, batch = scenes
  x, hidden = batch["x"], batch["masked"][..., 1:] > 0
  np.testing.assert_allclose(batch["small"][:, 2, 1], x[:, 8:12, 4:8].mean((1, 2)), atol=1e-6)
  assert (hidden.mean((1, 2, 3)) == 0.5).all() and len(np.unique(hidden, axis=0)) == 4
  np.testing.assert_array_equal(batch["masked"][..., :1], np.where(hidden, -1, x))
  flat = np.abs(x - x[:, :1, :1]).max((1, 2, 3)) == 0
  assert not flat.any() and (batch["edges"][:, 0, 0] <= 1).all()
  step = np.full((1, 20, 24, 1), -1.0, np.float32)
  step[:, :, 12:] = 1.0
  edges = np.asarray(s.prepare(jax.random.key(0), {"x": np.uint8((step + 1) * 127.5)}, False)["edges"])[0, :, :, 0]
  assert (edges[:, 11:13] == 1).all() and (np.delete(edges, [11, 12], axis=1) == -1).all()


def test_colours(scenes):
  """The scenes are those without colours, each digit in a pure hue that no other has."""
  _, plain, grey = scenes
  s = source(colour=True)
  raw = s.split("train")[np.arange(300)]
  batch = jax.device_get(jax.jit(s.prepare, static_argnums=2)(jax.random.key(0), raw, True))
  assert set(batch) == {"x", *s.spec.entries} and s.spec.shape == (20, 24, 3)
  for name, entry in s.spec.entries.items():
    assert batch[name].shape == (300, *entry.shape), name
  np.testing.assert_array_equal(batch["grey"], grey["x"])
  for name in ("label", "caption", "boxes", "map"):
    np.testing.assert_array_equal(batch[name], grey[name])
  np.testing.assert_allclose(batch["edges"], grey["edges"], atol=1e-6)  # another program, which may round otherwise
  np.testing.assert_array_equal(batch["masked"][..., 3:], grey["masked"][..., 1:])
  found = []
  for x, boxes in zip(raw["x"], raw["boxes"], strict=True):
    for box in boxes[boxes[:, 3] > 0]:
      top, left, bottom, right = np.round(box[1:] * np.tile([20, 24], 2)).astype(int)
      part = x[top:bottom, left:right].reshape(-1, 3) / 255
      hsv = np.array([colorsys.rgb_to_hsv(*p) for p in part[part.max(-1) > 0.5]])
      assert hsv[:, 1].min() == 1.0
      turn = np.exp(2j * np.pi * hsv[:, 0])
      assert np.abs(turn - turn[0]).max() < 0.1  # levels are whole
      found.append(hsv[0, 0])
  counts, _ = np.histogram(found, 6, (0, 1))
  assert (np.abs(counts - len(found) / 6) < 4 * (len(found) * 5 / 36) ** 0.5).all()
  assert len(np.unique(np.round(found, 2))) > 50
  assert (plain["x"][..., 0] == raw["x"].max(-1)).all()


def test_embeddings_from_a_file(tmp_path, scenes):
  _, raw, _ = scenes
  texts = sorted({words(t) for t in raw["caption"]})
  vectors = np.random.default_rng(0).normal(size=(len(texts), 3, 4)).astype(np.float32)
  np.savez(tmp_path / "e.npz", captions=np.array(texts), vectors=vectors)
  s = source(embeddings=str(tmp_path / "e.npz"))
  assert s.spec.entries["embedding"].shape == (3, 4)
  got = s.split("train")[np.arange(5)]["embedding"]
  np.testing.assert_array_equal(got, [vectors[texts.index(words(t))] for t in raw["caption"][:5]])
  np.savez(tmp_path / "few.npz", captions=np.array(texts[:1]), vectors=vectors[:1])
  with pytest.raises(InputError, match="has no vectors for"):
    source(embeddings=str(tmp_path / "few.npz")).split("train")[np.arange(300)]
  np.savez(tmp_path / "other.npz", words=np.array(texts[:1]))
  (tmp_path / "broken.npz").write_bytes(b"PK no archive")
  for name in ("other.npz", "broken.npz"):
    with pytest.raises(InputError, match=f"{name} is no npz with `captions`"):
      _ = source(embeddings=str(tmp_path / name)).spec
  with pytest.raises(InputError, match="no file of embeddings"):
    _ = source(embeddings=str(tmp_path / "none.npz")).spec


@pytest.mark.parametrize("fields", (dict(height=12, width=12), dict(height=4), dict(width=30)))
def test_bad_canvas(fields):
  with pytest.raises(InputError, match="two digits of 8 pixels do not fit"):
    source(**fields)


@pytest.mark.parametrize(
  "fields, message",
  (
    (dict(shrink=0), "shrink = 0"),
    (dict(single=2.0), "single = 2.0"),
    (dict(digits=EMNISTLetters()), "EMNISTLetters has no grey images of ten digits"),
    (dict(digits=CIFAR10()), "CIFAR10 has no grey"),
  ),
)
def test_bad_input(fields, message):
  with pytest.raises(InputError, match=message):
    source(**fields)
