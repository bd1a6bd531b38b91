"""Guidance on denoisers whose answers are written down."""

import dataclasses
import pathlib
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.ops.shapes import expand
from gen_jax.processes import gaussian, guidance
from gen_jax.run import checkpoint, config
from gen_jax.solvers.base import integrate
from gen_jax.solvers.grids import log_snr
from gen_jax.solvers.semilinear import ddim
from gen_jax.types import Spec

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
  none = guidance.interval(0.0, low=0.2, high=0.5)
  for t, weight in ((0.3, 0.0), (0.6, 1.0)):
    out, called = Painter().counted(none, jnp.float32(t), X)
    np.testing.assert_allclose(out, expected(weight, t), rtol=1e-5, atol=1e-5)
    assert called == [3] and none.evaluations == 1
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
  flat = guidance.rescaled(4.0)(PATH, lambda t, xt, cond, hidden: jnp.zeros_like(xt), COND)(t, X)
  np.testing.assert_array_equal(flat, jnp.zeros_like(X))  # a network at its start, without any contrast


def test_autoguidance_leads_away_from_the_guide():
  guided = guidance.autoguided(lambda t, x: x, lambda t, x: x - 1.0, weight=3.0)
  np.testing.assert_allclose(guided(jnp.array(0.5), X), X + 2.0)


def normal(path, std):
  """E[x0 | xt] for x0 ~ N(0, std^2)."""

  def denoise(t, x):
    a, s = expand(path.alpha(t), x), expand(path.sigma(t), x)
    return a * std**2 / ((a * std) ** 2 + s**2) * x

  return denoise


PATHS = {"edm": gaussian.edm(0.02, 50.0), "cosine": gaussian.cosine(), "rectified": gaussian.rectified()}


@pytest.mark.parametrize("source", PATHS)
@pytest.mark.parametrize("target", PATHS)
def test_a_denoiser_moves_to_another_path(source, target):
  """What it knows is the data, wherever it is asked: the closed form of each path."""
  t, x = jnp.array([0.1, 0.5, 0.9]), X / 4
  got = guidance.moved(normal(PATHS[source], 0.6), PATHS[source], PATHS[target])(t, x)
  np.testing.assert_allclose(got, normal(PATHS[target], 0.6)(t, x), rtol=2e-4)


@dataclasses.dataclass(frozen=True)
class Known:
  """A family that knows N(0, std^2) data, and adds its label and its own guidance to every estimate."""

  path: gaussian.Gaussian
  std: float = 1.5
  conditions: tuple = ()
  guidance: Any = guidance.classifier_free(3.0)
  has_score: bool = True
  spec: Spec = Spec(shape=(2,), kind="vector", classes=4)

  def path_of(self, params):
    return self.path

  def denoiser(self, params, cond=None):
    told = cond["label"][:, None] if self.conditions else 0
    return lambda t, x: params * normal(self.path, self.std)(t, x) + told + 7 * (self.guidance.weight - 1)


def auto(path, weight=2.0, **kwargs):
  return guidance.Auto(weight=weight, guide=types.SimpleNamespace(family=Known(path, **kwargs), params=1.0))


@pytest.mark.parametrize("conditions", ((), ("label",)))
def test_a_guide_of_another_path_and_its_range(conditions):
  """Inside the noise of the guide's path, on the line from its estimate; outside there is no guidance."""
  guide = auto(gaussian.rectified(t_min=0.5, t_max=0.75), 3.0, conditions=conditions)
  t, inside = jnp.array([0.9, 1.1, 3.2]), np.array([False, True, False])[:, None]  # the guide knows 1 to 3
  good = np.asarray(normal(PATH, 0.5)(t, X))
  worse = np.asarray(normal(PATH, 1.5)(t, X)) + (LABEL[:, None] if conditions else 0)
  expected = np.where(inside, worse + 3.0 * (good - worse), good)
  denoise = lambda t, xt, cond, hidden: normal(PATH, 0.5)(t, xt)
  np.testing.assert_allclose(guide(PATH, denoise, COND)(t, X), expected, rtol=1e-4)
  np.testing.assert_allclose(guide(PATH, denoise, COND)(jnp.array(1.1), X)[1], expected[1], rtol=1e-4)
  assert guide.evaluations == 2 and auto(PATH, 1.0).evaluations == 1
  np.testing.assert_array_equal(auto(PATH, 1.0)(PATH, denoise, COND)(t, X), good)


def test_autoguidance_sharpens():
  """For normal data and a guide of another deviation the flow has a closed form: it ends at std^w guide^(1 - w).

  On EDM's path it multiplies x by sqrt((std^2 + sigma^2)^w (guide^2 + sigma^2)^(1 - w)), taken between its ends.
  """
  std, worse, weight = 0.6, 0.9, 2.0
  path = gaussian.edm(0.02, 50.0)
  denoise = auto(gaussian.cosine(t_max=0.9999), weight, std=worse)(
    path, lambda t, x, c, h: normal(path, std)(t, x), None
  )
  x = jnp.array([[50.0]])
  end = integrate(ddim(), path.problem(denoise), jax.random.key(0), x, log_snr()(path, 400))
  size = lambda s: (std**2 + s**2) ** (weight / 2) * (worse**2 + s**2) ** ((1 - weight) / 2)
  assert float(end[0, 0]) == pytest.approx(50.0 * size(0.02) / size(50.0), rel=0.01)
  assert size(0.0) == pytest.approx(0.4)


def test_guides_that_do_not_fit():
  plane = Spec(shape=(2,), kind="vector", classes=4)
  auto(PATH, conditions=("label",)).check(plane, ("label",), 0.0)
  with pytest.raises(InputError, match=r"have the shape \(2,\), these \(3,\)"):
    auto(PATH).check(Spec(shape=(3,), kind="vector"), (), 0.0)
  with pytest.raises(InputError, match="'label', which this model is not"):
    auto(PATH, conditions=("label",)).check(plane, (), 0.0)
  with pytest.raises(InputError, match="trained on coupled pairs"):
    auto(PATH, has_score=False).check(plane, (), 0.0)
  blind = guidance.Auto(guide=types.SimpleNamespace(family=types.SimpleNamespace(spec=plane), params=1.0))
  with pytest.raises(InputError, match="does not denoise"):
    blind.check(plane, (), 0.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """run(name, seed) -> the directory of an untrained model of the plane, whose parameters are none of them zero."""
  file = pathlib.Path(__file__).parents[2] / "configs" / "diffusion_ring.py"

  def make(name, seed):
    folder = tmp_path_factory.mktemp(name)
    options = config.load(f"{file}:smoke", [("family.steps", "4")])
    _, family = config.build(options)
    state = family.init(jax.random.key(seed), {"x": jnp.zeros((options.train.batch_size, 2))})
    noisy = lambda a: a + 0.3 * jax.random.normal(jax.random.key(a.size + seed), a.shape)
    state = state.replace(ema=jax.tree.map(noisy, state.ema))
    config.save(options, folder)
    checkpoint.Checkpoints(folder, options).save(1, state)
    return folder

  return make


def test_a_config_names_a_guide(run):
  """A trained run is sampled with another one as its guide; with itself, as if there were none."""
  from gen_jax.run.load import load

  one, other = run("one", 0), run("other", 1)
  draw = lambda trained: trained.family.sample(jax.random.key(0), trained.params, 32)

  def guided(guide):
    choice = {"name": "guidance.Auto", "weight": 2.0, "guide": {"name": "load.load", "workdir": str(guide)}}
    return load(one, overrides=[("family.guidance", repr(choice))])

  alone = draw(load(one))
  assert guided(other).family.evaluations == 2 * load(one).family.evaluations
  np.testing.assert_allclose(draw(guided(one)), alone, rtol=1e-3, atol=1e-3)
  assert float(jnp.abs(draw(guided(other)) - alone).max()) > 0.1
  with pytest.raises(InputError, match="no run in nowhere"):
    guided("nowhere")
  with pytest.raises(InputError, match="guide has no default"):
    load(one, overrides=[("family.guidance", "guidance.Auto")])


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
