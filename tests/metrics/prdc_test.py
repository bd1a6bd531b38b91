"""Precision, recall, density and coverage against their definitions, example by example."""

import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.metrics import prdc as room
from gen_jax.metrics.prdc import prdc


def by_definition(real, fake, k):
  distance = lambda a, b: np.sqrt(((a.astype(np.float64) - b.astype(np.float64)) ** 2).sum())
  reach = lambda s: [sorted(distance(s[i], s[j]) for j in range(len(s)) if j != i)[k - 1] for i in range(len(s))]
  of_real, of_fake = reach(real), reach(fake)
  inside = np.array([[distance(x, y) <= r for y in fake] for x, r in zip(real, of_real, strict=True)])
  recalled = [any(distance(x, y) <= r for y, r in zip(fake, of_fake, strict=True)) for x in real]
  return inside.any(0).mean(), np.mean(recalled), inside.sum() / (k * len(fake)), inside.any(1).mean()


@pytest.mark.parametrize("d", [2, 200])
@pytest.mark.parametrize("k", [1, 4])
def test_definition(monkeypatch, d, k):
  monkeypatch.setattr(room, "_ROWS", 7)  # blocks that do not divide the sets
  rng = np.random.default_rng(d)
  real, fake = rng.standard_normal((45, d)), 0.9 * rng.standard_normal((33, d)) + 0.1
  assert prdc(real, fake, k) == pytest.approx(by_definition(real, fake, k), abs=1e-12)


def test_two_samples_of_one_gaussian():
  found = prdc(*np.random.default_rng(0).standard_normal((2, 5000, 64)), k=5)
  assert found == pytest.approx((0.704, 0.688, 1.063, 0.976), abs=0.03)
  assert found.coverage == pytest.approx(0.976, abs=0.006)


def test_neighbours_that_are_close_together_and_far_from_the_origin():
  rng = np.random.default_rng(0)
  real, fake = (1e-3 * rng.standard_normal((2, 40, 2)) + 4.0).astype(np.float32)
  assert prdc(real, fake, 3) == pytest.approx(by_definition(real, fake, 3), abs=1e-12)


def test_a_missing_mode_costs_recall_and_coverage_but_no_precision():
  rng = np.random.default_rng(0)
  real = np.concatenate([rng.standard_normal((200, 3)), rng.standard_normal((200, 3)) + 100])
  scores = prdc(real, rng.standard_normal((300, 3)))
  assert scores.recall < 0.5 and scores.coverage < 0.52
  assert scores.precision > 0.9


def test_an_outlier_among_the_fakes_costs_precision_but_no_recall():
  rng = np.random.default_rng(0)
  fake = np.concatenate([rng.standard_normal((200, 3)), rng.standard_normal((200, 3)) + 100])
  scores = prdc(rng.standard_normal((300, 3)), fake)
  assert scores.precision < 0.5
  assert scores.recall > 0.9 and scores.coverage > 0.9


def test_copies_are_perfect():
  x = np.random.default_rng(0).standard_normal((300, 150)).astype(np.float32)
  scores = prdc(x, x)
  assert (scores.precision, scores.recall, scores.coverage) == (1.0, 1.0, 1.0)
  assert scores.density == pytest.approx(6 / 5, rel=0.02)  # each ball holds its centre and its k neighbours


def test_too_few_examples():
  with pytest.raises(InputError, match="more than 5 examples"):
    prdc(np.zeros((5, 2)), np.zeros((50, 2)))
