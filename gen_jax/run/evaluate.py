"""Scores a trained model: samples against the test split, and likelihoods where the model has them.

Samples are compared to as many test images by distances between features. Each distance comes with its floor: the same
number for training images in the place of the samples, which is what a perfect model would get. A floor is not zero,
because the sets are finite, and it moves with n, the features and the reference: only numbers that agree in those can
be compared.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from gen_jax.data.base import Source, label
from gen_jax.errors import InputError, at_least
from gen_jax.family import Family, HasBound, HasLatents, HasLogProb, HasReport
from gen_jax.metrics import frechet
from gen_jax.metrics.classes import classes
from gen_jax.metrics.features import Extractor
from gen_jax.metrics.kid import kid
from gen_jax.metrics.prdc import prdc
from gen_jax.ops.psnr import psnr
from gen_jax.ops.shapes import batches
from gen_jax.resolve import part
from gen_jax.run import compile as compiling
from gen_jax.run import mesh as meshes
from gen_jax.run import sample
from gen_jax.run.load import Trained
from gen_jax.solvers.base import check_finite
from gen_jax.types import Key, PyTree

_SURE = 0.9  # a classifier this sure of a class is confident


class Judge(Protocol):
  """Whether samples show what their conditions ask for."""

  def check(self, source: Source) -> None:
    """Raises InputError for data that it cannot judge."""

  def score(
    self, source: Source, conditions: tuple[str, ...], rows: dict[str, np.ndarray], x: np.ndarray
  ) -> dict[str, float]:
    """The scores of samples x, given the rows whose conditions they have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
  """What is evaluated.

  Attributes:
    num: samples to score; at most as many as there are training images, which the floor needs.
    features: what turns samples into the vectors that distances compare, such as "features.mnist".
    neighbours: k of precision, recall, density and coverage.
    batch_size: how many examples are sampled or scored at once.
    likelihood_num: test examples whose likelihood is taken; 0 for none.
    importance: draws for each example of a likelihood bound; for VAEs, k > 1 makes it IWAE-k.
    judge: whether samples show what their conditions ask for, such as "scenes.Reader"; None where that cannot be seen.
  """

  num: int = 2000
  features: Extractor = part("metrics", "features.identity")
  neighbours: int = 5
  batch_size: int = 250
  likelihood_num: int = 1000
  importance: int = 1
  judge: Judge | None = part("metrics", None)

  def __post_init__(self):
    at_least(1, "evaluate.", neighbours=self.neighbours, batch_size=self.batch_size, importance=self.importance)
    at_least(self.neighbours + 1, "evaluate.", num=self.num)
    at_least(0, "evaluate.", likelihood_num=self.likelihood_num)

  def check(self, source: Source) -> None:
    """Raises InputError for data that cannot be scored like that."""
    if len(source.split("test")) < 2:
      raise InputError("data: scores compare sets, and need at least 2 test examples")
    self.features.check(source.spec.shape)
    if self.judge:
      self.judge.check(source)


@runtime_checkable
class HasDensity(Protocol):
  """Data whose density is known."""

  def log_prob(self, x: jax.Array) -> jax.Array:
    """log p(x), [B] nats."""

  def entropy(self) -> float:
    """-E log p(x), nats."""


def evaluate(trained: Trained, source: Source, options: Evaluate, *, seed: int) -> dict[str, Any]:
  """Every score of a model and how it was made, ready for JSON.

  Distances and shares of samples have a twin `<name>_floor`, the same of training images; `*_error` is a standard
  error; `label_accuracy` is the share of samples to which the features' classifier gives the label that they are
  conditioned on. Likelihoods are in nats per example.

  Args:
    trained: the model.
    source: the data that it was trained on.
    options: what is evaluated.
    seed: decides the samples, and which rows of the data are taken.

  Raises:
    InputError: the features do not fit the data, or samples are not finite.
  """
  family = trained.family
  key_sample, key_test, key_train, key_likelihood, key_codes, key_report = jax.random.split(jax.random.key(seed), 6)
  rng = np.random.default_rng(seed)
  num = min(options.num, len(source.split("train")))
  test = _rows(source, "test", num, key_test, rng)
  train = _rows(source, "train", num, key_train, rng)
  reference = options.features.embed(np.asarray(test["x"]))  # first: features that do not fit fail before the sampling

  cond = {name: np.resize(test[name], (num, *test[name].shape[1:])) for name in family.conditions}
  x, cost = sample.draw(family, trained.params, num, key=key_sample, cond=cond, batch_size=options.batch_size)
  x = x.clip(-1, 1) if source.spec.kind == "image" else x
  real = train if "label" in family.conditions else {}
  scores = _scores(options.features.embed(x), reference, options.neighbours, cond.get("label"))
  floor = _scores(options.features.embed(train["x"]), reference, options.neighbours, real.get("label"))
  return {
    "data": label(source),
    "n": num,
    "split": "test",
    "n_reference": len(test["x"]),
    "features": options.features.name,
    "features_accuracy": options.features.about.get("test_accuracy"),
    "neighbours": _neighbours(options.neighbours, num, len(reference[0])),
    "parameters": "raw" if trained.raw else "EMA",
    "seed": seed,
    **_interleave(scores, floor),
    **_reconstruction(family, trained.params, test, options, key_codes),
    **_likelihood(family, trained.params, test, options, key_likelihood),
    **_density(source, x),
    **_judged(source, family, test, options, x),
    **_reported(family, trained.params, cond, options, key_report),
    "seconds_per_image": cost.seconds / num,
    "evaluations_per_image": cost.evaluations_per_image,
    "compile_seconds": cost.compile_seconds,
    "device": jax.devices()[0].device_kind,
  }


def show(record: dict[str, Any]) -> None:
  """Prints a record as a table: what was scored, the score, its standard error and its floor."""
  from rich.console import Console
  from rich.table import Table

  table = Table("score", "value", "error", "floor", title=f"{caption(record)}, {record['parameters']} parameters")
  for name, value in record.items():
    if isinstance(value, float) and not name.endswith(("_floor", "_error")) and name != "features_accuracy":
      label = f"{name} ({record['log_prob_kind']})" if name == "log_prob" else name
      table.add_row(label, *(spell(v) for v in (value, record.get(f"{name}_error"), record.get(f"{name}_floor"))))
  Console(markup=False, emoji=False).print(table)


def caption(record: dict[str, Any]) -> str:
  """How a record was made, in one line."""
  accuracy = record.get("features_accuracy")
  features = record["features"] + (f" (accuracy {accuracy:.2%})" if accuracy else "")
  return (
    f"{record['n']} samples against {record['n_reference']} {record['split']} examples of {record['data']}, "
    f"{features} features, k = {record['neighbours']}, seed {record['seed']}"
  )


def spell(value: Any) -> str:
  """A value as tables show it; None is empty."""
  if value is None:
    return ""
  return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _rows(source: Source, name: str, num: int, key: Key, rng: np.random.Generator) -> dict[str, np.ndarray]:
  """`num` rows of a split, or all where there are fewer, drawn without replacement and prepared as for testing."""
  split = source.split(name)
  index = rng.permutation(len(split))[:num]
  return jax.device_get(compiling.jit(source.prepare, static_argnums=2)(key, split[index], False))


def _scores(embedded, reference, k: int, label: np.ndarray | None) -> dict[str, Any]:
  """The distances of (features, probabilities) to those of the reference, and whether each shows its `label`."""
  (features, probabilities), (of_reference, _) = embedded, reference
  kernel = kid(features, of_reference)
  out = {
    "frechet": frechet.distance(features, of_reference),
    "kid": kernel.value,
    "kid_error": kernel.error,
    **prdc(of_reference, features, _neighbours(k, len(features), len(of_reference)))._asdict(),
  }
  if probabilities is not None:
    of_classes = classes(probabilities, _SURE)
    shares = of_classes.shares.tolist()
    out |= {
      "confident": of_classes.confident,
      "class_share_min": min(shares),
      "class_share_max": max(shares),
      "class_shares": shares,
    }
    if label is not None:
      out["label_accuracy"] = float((probabilities.argmax(-1) == label).mean())
  return out


def _neighbours(k: int, *sizes: int) -> int:
  """k, or as many as there are in sets of these sizes."""
  return min(k, *(size - 1 for size in sizes))


def _interleave(scores: dict[str, Any], floor: dict[str, Any]) -> dict[str, Any]:
  """Each score followed by its floor; errors have none."""
  out = {}
  for name, value in scores.items():
    out[name] = value
    if not name.endswith("_error"):
      out[f"{name}_floor"] = floor[name]
  return out


def likelihood(family: Family, options: Evaluate) -> tuple[str, Callable[..., jax.Array]] | None:
  """What is taken of the likelihood and (key, params, x, cond) -> [B] nats of it; None where there is nothing to take.

  Of data with levels that is a bound on their mass, where the family has one: `log_prob` is of a density.
  """
  if not options.likelihood_num:
    return None
  if isinstance(family, HasLogProb) and not (isinstance(family, HasBound) and family.spec.levels):
    return family.estimator(), family.log_prob
  if isinstance(family, HasBound):
    return family.bound(options.importance), functools.partial(family.log_prob_bound, num=options.importance)
  return None


def _likelihood(
  family: Family, params: PyTree, test: dict[str, np.ndarray], options: Evaluate, key: Key
) -> dict[str, Any]:
  """The mean log-likelihood of test examples, or a bound on it, where the family has one."""
  taken = likelihood(family, options)
  if taken is None:
    return {}
  name, fn = taken
  num = min(options.likelihood_num, len(test["x"]))
  size = min(options.batch_size, num)
  fn, params, values = meshes.divided(fn), meshes.everywhere(params), []
  for rows in batches(num, size):
    cond = {name: test[name][rows] for name in family.conditions} or None
    chunk = meshes.everywhere((jax.random.fold_in(key, rows[0]), params, test["x"][rows], cond))
    values.append(np.asarray(fn(*chunk), np.float64))
  check_finite(np.concatenate(values), name, adaptive=isinstance(family, HasLogProb))
  mean, error = _mean(np.concatenate(values)[:num])
  out = {"log_prob": mean, "log_prob_error": error, "log_prob_kind": name, "log_prob_n": num}
  if family.spec.kind == "image":
    out["bits_per_dim"] = -mean / (np.log(2.0) * np.prod(family.spec.shape))
  return out


def _reconstruction(
  family: Family, params: PyTree, test: dict[str, np.ndarray], options: Evaluate, key: Key
) -> dict[str, Any]:
  """How near images come to themselves through their codes, where the family has some: mean of the PSNR, dB."""
  if not isinstance(family, HasLatents) or family.spec.kind != "image":
    return {}
  back = sample.through_codes(family, params, test["x"], key=key, batch_size=options.batch_size)
  mean, error = _mean(np.asarray(psnr(back, test["x"]), np.float64))
  return {"reconstruction_psnr": mean, "reconstruction_psnr_error": error}


def _density(source: Source, x: np.ndarray) -> dict[str, Any]:
  """Where the data have a known density p: -E log p of the samples, which for a perfect model is the entropy of p.

  It is infinite, and None here, if p = 0 at one of them; "outside" is the share of those.
  """
  if not isinstance(source, HasDensity):
    return {}
  log_p = np.asarray(compiling.jit(source.log_prob)(x), np.float64)
  outside = float(np.mean(np.isneginf(log_p)))
  mean, error = (None, None) if outside else _mean(-log_p)
  entropy = source.entropy()
  return {"cross_entropy": mean, "cross_entropy_error": error, "cross_entropy_floor": entropy, "outside": outside}


def _judged(
  source: Source, family: Family, test: dict[str, np.ndarray], options: Evaluate, x: np.ndarray
) -> dict[str, float]:
  """Whether samples show the test rows whose conditions they have."""
  if options.judge is None:
    return {}
  rows = {name: np.resize(value, (len(x), *value.shape[1:])) for name, value in test.items()}
  return options.judge.score(source, family.conditions, rows, x)


def _reported(
  family: Family, params: PyTree, cond: dict[str, np.ndarray], options: Evaluate, key: Key
) -> dict[str, Any]:
  """What the family says of itself, from one batch of draws."""
  if not isinstance(family, HasReport):
    return {}
  num = min(options.batch_size, options.num, *map(len, cond.values()))
  rows = {name: value[:num] for name, value in cond.items()} or None
  report = compiling.jit(lambda key, params, rows: family.report(key, params, num, rows))(key, params, rows)
  return {name: np.asarray(value, np.float64).tolist() for name, value in report.items()}


def _mean(values: np.ndarray) -> tuple[float, float | None]:
  """The mean and its standard error, None of a single value."""
  return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
