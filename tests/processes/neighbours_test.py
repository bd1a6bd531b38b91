"""Pairs of noise levels: their numbers against the papers', their density against a sum over all levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from gen_jax.errors import InputError
from gen_jax.processes import gaussian, neighbours

EDM = gaussian.edm()


def drawn(kind, step, num=20_000, path=EDM):
  draw = jax.jit(lambda step: kind.draw(jax.random.key(0), path, num, step))
  return tuple(np.asarray(a, np.float64) for a in draw(jnp.int32(step)))


def karras(num, low=0.002, high=80.0):
  return (low ** (1 / 7) + np.arange(num) / (num - 1) * (high ** (1 / 7) - low ** (1 / 7))) ** 7


KINDS = {
  "levels": neighbours.levels(18),
  "growing": neighbours.growing(total=100),
  "doubling": neighbours.doubling(total=100),
  "tuning": neighbours.tuning(total=100),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("path", [EDM, gaussian.cosine()], ids=["edm", "cosine"])
@pytest.mark.parametrize("step", [0, 99, 500])
def test_pairs_lie_on_the_path_and_apart(kind, path, step):
  t, s = drawn(kind, step, path=path)
  assert (s < t).all() and s.min() >= np.float32(path.t_min) and t.max() <= np.float32(path.t_max)


def test_levels_are_adjacent_and_equally_likely():
  t, s = drawn(KINDS["levels"], 0)
  levels = karras(18)
  upper, lower = (np.abs(np.log(a[:, None] / levels)).argmin(1) for a in (t, s))
  assert (upper == lower + 1).all()
  np.testing.assert_allclose(t, levels[upper], rtol=1e-3)
  counts = np.bincount(lower, minlength=17)
  assert (np.abs(counts / len(t) - 1 / 17) < 5 * np.sqrt(1 / 17 / len(t))).all()


@pytest.mark.parametrize("step, num", [(0, 2), (50, 107), (100, 151)])
def test_growing_numbers(step, num):
  """N of arXiv:2303.01469, appendix C, by hand: sqrt(.5 (151^2 - 4) + 4) - 1 = 105.8 at half way."""
  t, s = drawn(KINDS["growing"], step)
  expected = karras(num)
  assert {round(float(np.log(x)), 2) for x in t} <= {round(float(np.log(x)), 2) for x in expected[1:]}
  assert np.isclose(t.max(), 80.0) and np.isclose(s.min(), 0.002)
  assert float(KINDS["growing"].coarse(jnp.int32(step))) == pytest.approx(2 / num)


def test_doubling_follows_the_discrete_density():
  """p(i) of arXiv:2310.14189, section 3.5: differences of erf at the logs of adjacent levels. 11 levels at first."""
  _, s = drawn(KINDS["doubling"], 0, num=100_000)
  levels = karras(11)
  index = np.abs(np.log(s[:, None] / levels)).argmin(1)
  edges = special.erf((np.log(levels) + 1.1) / (2.0 * np.sqrt(2)))
  p = np.diff(edges) / (edges[-1] - edges[0])
  share = np.bincount(index, minlength=10) / len(s)
  assert (np.abs(share - p) < 5 * np.sqrt(p / len(s)) + 1e-4).all()


@pytest.mark.parametrize("step, num", [(0, 11), (11, 11), (12, 21), (99, 1281), (1000, 1281)])
def test_doubling_numbers(step, num):
  """K' = floor(100 / (log2 128 + 1)) = 12 steps a stage, from 10 pairs to 1,280."""
  t, s = drawn(KINDS["doubling"], step, num=2000)
  levels = karras(num)
  upper, lower = (np.abs(np.log(a[:, None] / levels)).argmin(1) for a in (t, s))
  assert (upper == lower + 1).all()
  np.testing.assert_allclose(t, levels[upper], rtol=1e-3)
  assert float(KINDS["doubling"].coarse(jnp.int32(step))) == pytest.approx(11 / num)


@pytest.mark.parametrize("step, num", [(0, 11), (385, 11), (386, 21), (771, 21), (772, 31), (5000, 31)])
def test_doubling_reaches_a_last_that_is_no_power(step, num):
  """K' = floor(1000 / (log2 3 + 1)) = 386 steps a stage: 10, 20 and 30 pairs."""
  assert float(neighbours.doubling(total=1000, first=10, last=30).coarse(jnp.int32(step))) == pytest.approx(11 / num)


def test_tuning_starts_as_diffusion_and_ends_close():
  """r = t (1 - n(t) / q^a), by the paper's formula; with a = 1 and k = 8, n > 2 wherever t < 1.9."""
  t, s = drawn(KINDS["tuning"], 0)
  assert (s[t < 1.9] == np.float32(0.002)).all()
  t, s = drawn(KINDS["tuning"], 99)
  expected = t * (1 - (1 + 8 * special.expit(-t)) / 2.0**8)
  np.testing.assert_allclose(s, np.maximum(expected, 0.002), rtol=2e-4)


def test_weights():
  t, s = jnp.array([2.0]), jnp.array([1.5])
  assert neighbours.unit()(EDM, t, s) == 1
  np.testing.assert_allclose(neighbours.inverse()(EDM, t, s), 2.0, rtol=1e-5)


@pytest.mark.parametrize(
  "wrong",
  [
    lambda: neighbours.levels(1),
    lambda: neighbours.growing(total=0),
    lambda: neighbours.growing(total=10, first=9, last=3),
    lambda: neighbours.doubling(total=10, first=0),
    lambda: neighbours.tuning(total=10, stages=0),
  ],
)
def test_wrong_numbers_are_refused(wrong):
  with pytest.raises(InputError, match="should be at least"):
    wrong()
