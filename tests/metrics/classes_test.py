"""Confidence and balance of samples, counted by hand."""

import numpy as np
import pytest

from gen_jax.metrics.classes import classes


def test_counts():
  p = np.array([[0.95, 0.05, 0.0], [0.9, 0.1, 0.0], [0.0, 0.89, 0.11], [0.0, 0.0, 1.0]])
  found = classes(p)
  assert found.confident == 0.75
  assert found.shares.tolist() == [0.5, 0.25, 0.25]
  assert classes(p, sure=0.8).confident == 1.0


def test_a_class_that_no_sample_is_in_has_share_0():
  found = classes(np.tile([0.0, 1.0, 0.0], (7, 1)))
  assert found.shares.tolist() == [0.0, 1.0, 0.0]


def test_probabilities_of_float32():
  assert classes(np.array([[0.91, 0.09]], np.float32)).confident == pytest.approx(1.0)
