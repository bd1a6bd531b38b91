"""Guidance on denoisers whose answers are written down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.processes import gaussian, guidance
from gen_jax.solvers.base import integrate
from gen_jax.solvers.grids import log_snr
from gen_jax.solvers.semilinear import ddim

PATH = gaussian.edm()
LABEL, X = jnp.array([0, 1, 2]), jnp.arange(6.0).reshape(3, 2) - 2.5
COND = {"label": LABEL}


class Painter:
  """A conditional denoiser that adds ten times the label and the time, and counts the examples of each call."""

  def __init__(self):
    self.sizes = []

  def __call__(self, t, xt, cond, hidden):
    def note():
      self.sizes.append(len(xt))

    jax.debug.callback(note)
    label = jnp.zeros(len(xt)) if cond is None else cond["label"]
    label = label if hidden is None else jnp.where(hidden, 0, label)
    return jnp.sin(xt) + jnp.broadcast_to(t, len(xt))[:, None] + 10.0 * label[:, None]

  def counted(self, guide, t, x):
    """(the guided estimate, the sizes of the calls that it took)."""
    jax.effects_barrier()
    self.sizes.clear()
    out = jax.block_until_ready(guide(PATH, self, COND)(t, x))
    jax.effects_barrier()
    return out, list(self.sizes)


def expected(weight, t):
  free = np.sin(X) + np.broadcast_to(t, 3)[:, None]
  return free + weight * 10.0 * LABEL[:, None]


@pytest.mark.parametrize("t", (jnp.array(0.5), jnp.array([0.1, 0.2, 0.3])), ids=("scalar", "each"))
def test_classifier_free(t):
  """On the line through both halves; one call of 2 B, or of B where one half is all there is to it."""
  for weight, sizes in ((0.0, [3]), (1.0, [3]), (2.5, [6]), (-1.0, [6])):
    guide = guidance.classifier_free(weight)
    out, called = Painter().counted(guide, t, X)
    np.testing.assert_allclose(out, expected(weight, t), rtol=1e-5, atol=1e-5)
    assert called == sizes and guide.evaluations == len(called) * sizes[0] // 3
  nothing = guidance.classifier_free(2.5)(PATH, Painter(), None)(t, X)
  np.testing.assert_allclose(nothing, expected(0.0, t), rtol=1e-5, atol=1e-5)


def test_interval():
  """Guided inside, conditional outside, where a step costs half."""
  guide = guidance.interval(3.0, low=0.2, high=0.5)
  for t, weight, sizes in ((0.1, 1.0, [3]), (0.21, 3.0, [6]), (0.5, 3.0, [6]), (0.6, 1.0, [3])):
    out, called = Painter().counted(guide, jnp.float32(t), X)
    np.testing.assert_allclose(out, expected(weight, t), rtol=1e-5, atol=1e-5)
    assert called == sizes
  t = jnp.array([0.1, 0.3, 0.6])
  weight = np.array([1.0, 3.0, 1.0])[:, None]
  np.testing.assert_allclose(Painter().counted(guide, t, X)[0], expected(weight, t), rtol=1e-5, atol=1e-5)
  with pytest.raises(InputError, match="low = 2"):
    guidance.interval(3.0, low=2.0, high=1.0)


def test_rescaled_keeps_the_contrast():
  """At share 1 each example has the deviation of the conditional estimate, and is the guided one up to scale."""
  t = jnp.array(0.3)
  denoise = lambda t, xt, cond, hidden: xt * (1 + jnp.where(hidden, 0, cond["label"]))[:, None]
  plain = guidance.classifier_free(4.0)(PATH, denoise, COND)(t, X)
  whole, half = (guidance.rescaled(4.0, share)(PATH, denoise, COND)(t, X) for share in (1.0, 0.5))
  np.testing.assert_allclose(whole.std(1), (X * (1 + LABEL)[:, None]).std(1), rtol=1e-5)
  np.testing.assert_allclose(whole / plain, jnp.repeat((whole / plain)[:, :1], 2, 1), rtol=1e-5)
  np.testing.assert_allclose(half, (whole + plain) / 2, rtol=1e-5)


def test_autoguidance_leads_away_from_the_guide():
  guided = guidance.autoguided(lambda t, x: x, lambda t, x: x - 1.0, weight=3.0)
  np.testing.assert_allclose(guided(jnp.array(0.5), X), X + 2.0)


def test_a_classifier_samples_the_posterior():
  """x ~ N(0, 1) and y | x ~ N(x, 1/4): with the likelihood of noisy data, samples follow p(x | y) = N(0.8 y, 0.2)."""
  y, var = 1.5, 0.25

  def log_prob(t, xt):  # x | xt is N(xt / (1 + t^2), t^2 / (1 + t^2))
    spread = var + t**2 / (1 + t**2)
    return (-0.5 * (y - xt / (1 + t**2)) ** 2 / spread).sum(-1)

  denoise = guidance.classifier(lambda t, xt: xt / (1 + t**2), PATH, log_prob)
  ts = log_snr()(PATH, 200)
  x = PATH.prior(jax.random.key(0), (20_000, 1))
  x = jax.jit(lambda x: integrate(ddim(), PATH.problem(denoise), jax.random.key(1), x, ts))(x)
  assert abs(float(x.mean()) - 0.8 * y) < 0.01 and abs(float(x.std()) / 0.2**0.5 - 1) < 0.02


def test_clipped():
  out = guidance.clipped(lambda t, x: x)(0.5, jnp.array([-3.0, 0.2, 3.0]))
  np.testing.assert_allclose(out, [-1.0, 0.2, 1.0])
