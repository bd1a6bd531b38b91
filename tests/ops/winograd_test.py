"""Minimal filtering against sums over windows in float64."""

import jax
import numpy as np
import pytest

from gen_jax.ops import winograd


@pytest.mark.parametrize("height, width", [(4, 8), (5, 3), (1, 1), (3, 9), (2, 13)])
def test_a_sum_over_windows(height, width):
  rng = np.random.default_rng(0)
  x, w = rng.normal(size=(2, height, width, 16)), rng.normal(size=(3, 3, 16, 5))
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))  # [B, H, W, C, 3, 3]
  exact = np.einsum("bhwcij,ijcd->bhwd", windows, w)
  ours = jax.jit(winograd.convolve)(np.float32(x), np.float32(w))
  assert np.std(ours - exact) < 2e-6 * np.std(exact)
