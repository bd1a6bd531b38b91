import jax
import numpy as np
import pytest
from scipy import stats

from gen_jax.data import synthetic
from gen_jax.errors import InputError

SOURCES = [
  synthetic.Ring(),
  synthetic.Ring(modes=5, radius=0.65, std=0.2),
  synthetic.EightGaussians(),
  synthetic.TwoMoons(),
  synthetic.Spirals(),
  synthetic.SwissRoll(),
  synthetic.Checkerboard(),
]
names = lambda s: type(s).__name__


def test_entropy_of_the_ring():
  """1.183 nats: a published value; and Monte Carlo with SciPy's densities, of draws that are not ours."""
  ring = synthetic.Ring(radius=0.65, std=0.2)
  assert abs(ring.entropy() - 1.183) < 1e-3
  angle = 2 * np.pi * np.arange(8) / 8
  parts = [stats.multivariate_normal(0.65 * np.array([np.cos(a), np.sin(a)]), 0.04) for a in angle]
  rng = np.random.default_rng(0)
  x = np.concatenate([p.rvs(20_000, rng) for p in parts])
  log_p = np.log(np.mean([p.pdf(x) for p in parts], 0))
  assert abs(ring.entropy() + log_p.mean()) < 4 * log_p.std() / len(x) ** 0.5
  np.testing.assert_allclose(ring.log_prob(x[::1000].astype(np.float32)), log_p[::1000], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("source", SOURCES, ids=names)
def test_the_share_of_rows_in_each_box_is_its_mass(source):
  """The density and the draws know nothing of each other but the skeleton."""
  x = source.split("train").columns["x"]
  edges = [np.linspace(x[:, i].min(), x[:, i].max(), 7) for i in (0, 1)]
  counts, _, _ = np.histogram2d(x[:, 0], x[:, 1], edges)
  fine = 24  # points along each side of a box
  points = [(np.arange(6 * fine) + 0.5) / (6 * fine) * (e[-1] - e[0]) + e[0] for e in edges]
  grid = np.stack(np.meshgrid(*points, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
  area = np.prod([(e[-1] - e[0]) / (6 * fine) for e in edges])
  mass = np.exp(np.asarray(jax.jit(source.log_prob)(grid), np.float64)).reshape(6, fine, 6, fine).sum((1, 3)) * area
  std = np.sqrt(len(x) * mass.clip(1e-4) * (1 - mass))
  assert (np.abs(counts - len(x) * mass) < 4.5 * std + 0.002 * len(x)).all()


@pytest.mark.parametrize("source", SOURCES, ids=names)
def test_entropy_agrees_with_test_rows(source):
  log_p = np.asarray(jax.jit(source.log_prob)(source.split("test").columns["x"]), np.float64)
  assert abs(source.entropy() + log_p.mean()) < 4 * log_p.std() / len(log_p) ** 0.5 + 1e-6


def test_labels_name_the_part():
  ring = synthetic.Ring(std=0.01)
  assert ring.spec.classes == 8
  rows = ring.split("test")[np.arange(500)]
  angle = np.arctan2(rows["x"][:, 1], rows["x"][:, 0])
  np.testing.assert_array_equal(np.round(angle / (2 * np.pi / 8)).astype(int) % 8, rows["label"])
  assert "label" not in synthetic.SwissRoll().split("test").columns
  assert synthetic.SwissRoll().spec.classes == 0


def test_rows_are_fixed_and_splits_apart():
  a, b = synthetic.TwoMoons(num_train=1000), synthetic.TwoMoons(num_train=2000)
  np.testing.assert_array_equal(a.split("test").columns["x"], b.split("test").columns["x"])
  even = synthetic.TwoMoons(num_train=1000, num_test=1000)
  train, test = (even.split(name).columns["x"] for name in ("train", "test"))
  assert len(train) == len(test) == 1000
  assert not set(map(bytes, train)) & set(map(bytes, test))


@pytest.mark.parametrize(
  "make, message",
  [
    (lambda: synthetic.Checkerboard(squares=3), "squares = 3 should be an even number"),
    (lambda: synthetic.Checkerboard(num_test=1), "num_test = 1 should be at least 2"),
    (lambda: synthetic.Ring(num_train=-1), "num_train = -1"),
    (lambda: synthetic.Ring(modes=0), "modes = 0"),
    (lambda: synthetic.Ring(radius=float("inf")), "radius = inf"),
    (lambda: synthetic.EightGaussians(std=0.0), "std = 0.0 should be positive"),
    (lambda: synthetic.TwoMoons(std=float("nan")), "std = nan"),
  ],
)
def test_densities_that_there_are_not_are_refused(make, message):
  with pytest.raises(InputError, match=message):
    make()
