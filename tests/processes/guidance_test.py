"""Guidance on a denoiser whose answer is written down."""

import jax.numpy as jnp
import numpy as np

from gen_jax.processes import guidance


def test_classifier_free():
  """One call of 2 B; t a scalar or per example."""
  sizes = []

  def denoise(t, xt, label):
    sizes.append(len(xt))
    return xt + t[:, None] + 10.0 * label[:, None]

  label, null, x = jnp.array([0, 1, 2]), 3, jnp.arange(6.0).reshape(3, 2)
  for t in (jnp.array(0.5), jnp.array([0.1, 0.2, 0.3])):
    free = x + (t if t.ndim == 0 else t[:, None]) + 30.0
    given = free + 10.0 * (label - null)[:, None]
    for weight in (0.0, 1.0, 2.5):
      out = guidance.classifier_free(denoise, label, null, weight)(t, x)
      np.testing.assert_allclose(out, (1 - weight) * free + weight * given, rtol=1e-5)
  assert set(sizes) == {6}


def test_clipped():
  out = guidance.clipped(lambda t, x: x)(0.5, jnp.array([-3.0, 0.2, 3.0]))
  np.testing.assert_allclose(out, [-1.0, 0.2, 1.0])
