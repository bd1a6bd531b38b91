"""The training of the classifiers, part by part."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.data.digits import Digits
from gen_jax.metrics import features
from gen_jax.metrics import train_features as room


def test_move():
  x = jnp.arange(1.0, 26.0).reshape(1, 5, 5, 1).repeat(200, 0)
  moved = np.asarray(room.move(jax.random.key(0), x, 1))[..., 0]
  image, seen = np.full((7, 7), -1.0), set()
  image[1:6, 1:6] = x[0, ..., 0]
  windows = {(i, j): image[i : i + 5, j : j + 5] for i in range(3) for j in range(3)}
  for m in moved:
    seen |= {place for place, window in windows.items() if np.array_equal(m, window)}
  assert len(seen) == 9


def test_augment():
  recipe = dataclasses.replace(room.RECIPES["digits"], shift=0)
  x = jax.random.normal(jax.random.key(1), (64, 8, 8, 1))
  target = jax.nn.one_hot(jnp.arange(64) % 10, 10)
  out, wanted = map(np.asarray, jax.jit(lambda *a: room.augment(*a, recipe))(jax.random.key(0), x, target))
  np.testing.assert_allclose(wanted.sum(1), 1.0, atol=1e-6)
  for i in range(8):  # no digit
    np.testing.assert_allclose(np.sort(out[i].ravel()), np.sort(np.ravel(x[i])), atol=1e-6)
    assert not np.allclose(out[i], x[i])
    np.testing.assert_allclose(wanted[i], 0.1)
  np.testing.assert_allclose(out[8], (x[8] + x[16]) / 2, atol=1e-6)  # two
  assert wanted[8][8] == wanted[8][6] == 0.5
  np.testing.assert_array_equal(out[16:], x[16:])
  np.testing.assert_array_equal(wanted[16:], target[16:])


def test_a_short_training_learns():
  recipe = dataclasses.replace(room.RECIPES["digits"], epochs=4, batch_size=32, widths=(8, 16, 16))
  weights = room.train(Digits(), recipe, log=lambda *_, **__: None)
  about = {"shape": (8, 8, 1), "strides": recipe.strides}
  assert room.assess(Digits(), features.classifier("short", weights, about).embed)["test_accuracy"] > 0.5
  scaled = room.rescale(Digits(), weights, recipe.strides)
  split = Digits().split("train")
  x = split[np.arange(1000)]["x"] / 8.0 - 1.0
  (before, p), (after, q) = (features.classifier("short", w, about).embed(x) for w in (weights, scaled))
  np.testing.assert_allclose(p, q, atol=1e-5)
  assert np.mean(after**2) == pytest.approx(1.0, abs=0.1) and np.mean(before**2) != pytest.approx(1.0, abs=0.1)


def test_calibration_error():
  rng = np.random.default_rng(0)
  top = rng.uniform(0.5, 1.0, 100_000)
  p = np.stack([top, 1 - top], 1)
  assert room.calibration_error(p, (rng.random(len(top)) > top).astype(int)) < 0.01
  always = np.tile([0.9, 0.1], (1000, 1))
  assert room.calibration_error(always, np.arange(1000) % 2) == pytest.approx(0.4)


def test_a_missing_folder_is_one_line(monkeypatch, capsys):
  monkeypatch.setattr("sys.argv", ["train_features", "cifar10", "--images=/nowhere"])
  assert room.main() == 2
  error = capsys.readouterr().err
  assert error.startswith("error: ") and "/nowhere/train" in error and error.count("\n") == 1


def test_a_recipe_is_trained_and_written(tmp_path, monkeypatch):
  monkeypatch.setattr(features, "_WEIGHTS", tmp_path)
  recipe = dataclasses.replace(room.RECIPES["digits"], epochs=1, widths=(4, 4, 4))
  about = room._write(recipe, Digits(), "the command")
  weights, saved = features.trained("digits")
  assert saved["command"] == "the command" and saved["train_images"] == 1442
  assert saved["test_accuracy"] == about["test_accuracy"] and weights["conv0_kernel"].shape == (3, 3, 1, 4)
