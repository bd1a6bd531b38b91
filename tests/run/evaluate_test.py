"""The evaluator on models whose scores are known, because they are the data or a Gaussian."""

import dataclasses
import json
from types import SimpleNamespace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import resolve
from gen_jax.data.base import Arrays
from gen_jax.data.digits import Digits
from gen_jax.data.synthetic import Checkerboard, Ring
from gen_jax.errors import InputError
from gen_jax.metrics import features
from gen_jax.run import evaluate as room
from gen_jax.run import mesh as meshes
from gen_jax.run.evaluate import Evaluate, evaluate
from gen_jax.types import Spec

RING = Ring(num_train=1500, num_test=1000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exact:
  """Draws from the ring itself, shrunk by `scale`, and knows its density."""

  spec: Spec = RING.spec
  scale: float = 1.0
  conditions: ClassVar = ()
  evaluations: ClassVar = 3

  def sample(self, key, params, num, cond=None):
    key_part, key_noise = jax.random.split(key)
    angle = 2 * jnp.pi * jax.random.randint(key_part, (num,), 0, 8) / 8
    noise = RING.std * jax.random.normal(key_noise, (num, 2))
    return self.scale * (jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1) + noise)

  def estimator(self):
    return "exact"

  def log_prob(self, key, params, x, cond=None):
    return RING.log_prob(x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Copies:
  """Answers a label with a training image of its class; its bound is the first pixel."""

  spec: Spec = Digits().spec
  value: float = 0.0
  ema_decay: float | None = 0.9
  conditions: ClassVar = ("label",)
  evaluations: ClassVar = 1

  def sample(self, key, params, num, cond=None):
    return params[cond["label"]] + self.value

  def bound(self, num=1):
    return f"bound of {num}"

  def log_prob_bound(self, key, params, x, cond=None, num=1):
    return x.reshape(len(x), -1).sum(1) + cond["label"] + num


def trained(family, params=jnp.zeros(1), raw=True):
  return SimpleNamespace(family=family, params=params, raw=raw)


@pytest.fixture(scope="module")
def exact():
  return evaluate(trained(Exact()), RING, Evaluate(num=1000, batch_size=300), seed=0)


def one_of_each():
  split = Digits().split("train")
  rows = split[np.arange(200)]
  first = [int(np.flatnonzero(rows["label"] == c)[0]) for c in range(10)]
  return jnp.asarray(rows["x"][first] / 8.0 - 1.0, jnp.float32)


def test_a_perfect_model_scores_the_floor(exact):
  assert exact["frechet"] < 0.02 and exact["frechet_floor"] < 0.02
  assert abs(exact["kid"]) < 4 * exact["kid_error"]
  for name in ("precision", "recall", "density", "coverage"):
    assert exact[name] == pytest.approx(exact[f"{name}_floor"], abs=0.08)


def test_exact_likelihoods_and_cross_entropy(exact):
  assert exact["log_prob_kind"] == "exact" and exact["log_prob_n"] == 1000
  assert exact["log_prob"] == pytest.approx(-RING.entropy(), abs=4 * exact["log_prob_error"])
  assert exact["cross_entropy_floor"] == pytest.approx(RING.entropy())
  assert exact["cross_entropy"] == pytest.approx(RING.entropy(), abs=4 * exact["cross_entropy_error"])


def test_a_worse_model_scores_worse(exact):
  worse = evaluate(trained(Exact(scale=0.7)), RING, Evaluate(num=1000, likelihood_num=0), seed=0)
  var = 1 / 2 + RING.std**2  # in each direction
  assert worse["frechet"] == pytest.approx(2 * var * (1 - 0.7) ** 2, abs=0.02)
  assert worse["kid"] > exact["kid"] + 5 * worse["kid_error"]
  assert worse["precision"] < exact["precision"] - 0.2
  assert worse["cross_entropy"] > exact["cross_entropy"] + 1.0
  assert "log_prob" not in worse
  assert worse["frechet_floor"] == exact["frechet_floor"]


def test_samples_where_the_density_is_zero():
  """Their cross entropy is infinite, which JSON cannot say; the colour of a square is told by sines."""
  rng, options = np.random.default_rng(0), Evaluate(num=1000, likelihood_num=0)
  for scale in (0.5, 1.0, 20.0):
    record = evaluate(trained(Exact(scale=scale)), Checkerboard(), options, seed=0)
    x = scale * RING.draw(rng, 100_000)["x"].astype(np.float64)
    black = (np.sin(2 * np.pi * x).prod(-1) > 0) & (abs(x) < 1).all(-1)
    assert record["outside"] == pytest.approx(1 - black.mean(), abs=0.065)  # four standard errors
    assert record["cross_entropy"] is None
    json.dumps(record, allow_nan=False)


def test_samples_where_the_density_is_nowhere_zero(exact):
  assert exact["outside"] == 0.0


def test_a_record_says_how_it_was_made(exact):
  assert json.loads(json.dumps(exact)) == exact
  made = {"data": "Ring", "n": 1000, "split": "test", "n_reference": 1000, "features": "identity", "seed": 0}
  made |= {"parameters": "raw", "neighbours": 5, "evaluations_per_image": 3}
  assert {name: exact[name] for name in made} == made
  assert exact["seconds_per_image"] > 0 and exact["compile_seconds"] > 0


def test_classes_conditions_and_bounds():
  options = Evaluate(num=5000, features=features.digits(), likelihood_num=100, batch_size=64, importance=7)
  record = evaluate(trained(Copies(), one_of_each(), raw=False), Digits(), options, seed=0)
  assert record["n"] == 1442 and record["n_reference"] == 355  # all there are
  assert record["features_accuracy"] > 0.98 and record["parameters"] == "EMA"
  assert record["confident"] >= 0.9
  assert record["class_shares"] == pytest.approx(record["class_shares_floor"], abs=0.03)  # labels of real images
  assert record["recall"] < record["recall_floor"]  # there are only ten images
  assert record["label_accuracy"] == 1.0  # each sample shows its class
  assert record["label_accuracy_floor"] == pytest.approx(record["features_accuracy"], abs=0.02)
  assert record["log_prob_kind"] == "bound of 7" and record["log_prob_n"] == 100
  key_test = jax.random.split(jax.random.key(0), 4)[1]
  rows = room._rows(Digits(), "test", 1442, key_test, np.random.default_rng(0))
  expected = (rows["x"].reshape(355, -1).sum(1) + rows["label"])[:100].mean() + 7
  assert record["log_prob"] == pytest.approx(expected, rel=1e-5)
  assert record["bits_per_dim"] == pytest.approx(-expected / 64 / np.log(2), rel=1e-5)


def test_samples_of_another_class_than_told_are_counted():
  options = Evaluate(num=355, features=features.digits(), likelihood_num=0)
  images = one_of_each()
  record = evaluate(trained(Copies(), images.at[0].set(images[1])), Digits(), options, seed=0)  # no zeros, but ones
  zeros = Digits().split("test")[np.arange(355)]["label"] == 0
  assert record["label_accuracy"] == pytest.approx(1 - zeros.mean())
  assert record["label_accuracy_floor"] > 0.98


def test_raw_parameters_are_recorded():
  options = Evaluate(num=50, features=features.identity(), likelihood_num=0)
  for raw, says in ((True, "raw"), (False, "EMA")):
    assert evaluate(trained(Copies(), one_of_each(), raw=raw), Digits(), options, seed=1)["parameters"] == says


def test_the_likelihood_of_one_example_has_no_error():
  options = Evaluate(num=50, features=features.identity(), likelihood_num=1, importance=7)
  record = evaluate(trained(Copies(), one_of_each()), Digits(), options, seed=0)
  assert record["log_prob_n"] == 1 and record["log_prob_error"] is None
  json.dumps(record, allow_nan=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brighter(Copies):
  """Has codes, through which images come back brighter."""

  by: float = 0.2

  def encode(self, key, params, x):
    return 5 * x

  def decode(self, key, params, z):
    return z / 5 + self.by


class Unsure(Copies):
  """Has a bound that is not finite."""

  def log_prob_bound(self, key, params, x, cond=None, num=1):
    return super().log_prob_bound(key, params, x, cond, num) * jnp.nan


def test_reconstructions_are_scored_where_there_are_codes():
  options = Evaluate(
    num=50, features=features.identity(), likelihood_num=0, batch_size=30
  )  # the last batch is not full
  record = evaluate(trained(Brighter(), one_of_each()), Digits(), options, seed=0)
  assert record["reconstruction_psnr"] == pytest.approx(20.0, abs=1e-3)  # a range of 2 against an error of 0.2
  assert record["reconstruction_psnr_error"] < 1e-3
  same = evaluate(trained(Brighter(by=0.0), one_of_each()), Digits(), options, seed=0)
  assert same["reconstruction_psnr"] == pytest.approx(10 * np.log10(4e10))  # the most that is told
  assert "reconstruction_psnr" not in evaluate(trained(Copies(), one_of_each()), Digits(), options, seed=0)


def test_all_that_a_model_computes_is_divided_over_the_devices(monkeypatch):
  """Samples, what comes back through codes, and the likelihood."""
  divided, seen = meshes.divided, []
  monkeypatch.setattr(meshes, "divided", lambda fn: seen.append(fn) or divided(fn))
  evaluate(trained(Brighter(), one_of_each()), Digits(), Evaluate(num=50), seed=0)
  assert len(seen) == 3


def test_what_cannot_be_scored():
  with pytest.raises(InputError, match="not finite"):
    evaluate(trained(Copies(value=np.nan), one_of_each()), Digits(), Evaluate(num=50), seed=0)
  with pytest.raises(InputError, match=r"^bound of 1 is not finite: the model"):
    evaluate(trained(Unsure(), one_of_each()), Digits(), Evaluate(num=50), seed=0)
  with pytest.raises(InputError, match=r"features\.identity"):
    evaluate(trained(Exact()), RING, Evaluate(num=50, features=features.digits()), seed=0)
  with pytest.raises(InputError, match=r"evaluate.num = 3 should be at least 6"):
    Evaluate(num=3)


def test_show(exact, capsys):
  room.show({"step": 1, **exact})
  shown = capsys.readouterr().out
  assert "frechet" in shown and "log_prob (exact)" in shown and "1000 samples" in shown


def test_a_config_names_the_features():
  options = resolve.build("run", {"name": "evaluate.Evaluate", "num": 100, "features": "features.digits"})
  assert options.features is features.digits()
  complete = resolve.complete("run", {"name": "evaluate.Evaluate"})
  assert complete["features"] == {"name": "features.identity"}
  with pytest.raises(InputError, match=r"did you mean 'features\.digits'"):
    resolve.build("run", {"name": "evaluate.Evaluate", "features": "features.digit"})


class LowDigits(Digits):
  """Only 0, 1 and 2 are tested on."""

  def split(self, name):
    whole = super().split(name)
    rows = whole[np.arange(len(whole))]
    keep = rows["label"] < 3 if name == "test" else slice(None)
    return Arrays(**{k: v[keep] for k, v in rows.items()})


def test_conditions_are_those_of_the_reference():
  options = Evaluate(num=300, features=features.digits(), likelihood_num=0)
  record = evaluate(trained(Copies(), one_of_each()), LowDigits(), options, seed=0)
  assert sum(record["class_shares"][:3]) == 1.0
  assert sum(record["class_shares_floor"][:3]) < 0.5
