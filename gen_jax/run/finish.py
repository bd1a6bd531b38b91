"""What a run shows: grids of samples on the way; samples, a loss plot and an evaluation at the end."""

import functools
import pathlib
from typing import Any

import jax
import numpy as np

from gen_jax.data.base import Source
from gen_jax.family import Family, HasLatents
from gen_jax.run import config as configs
from gen_jax.run import hint, sample, writer
from gen_jax.run import mesh as meshes
from gen_jax.run.load import Trained
from gen_jax.types import Key, PyTree

_SAMPLES = 2  # stream of keys that come from the seed; of the same seed the loop has two others
_SHOWN = 256  # images in a grid, at most
_RECONSTRUCTED = 10  # images in a row of reconstructions


class Grids:
  """Grids of samples at several steps of a run, from the same noise and conditions."""

  def __init__(self, family: Family, source: Source, workdir: pathlib.Path, *, num: int, seed: int):
    self._family, self._source, self._folder, self._num, self._seed = family, source, workdir / "samples", num, seed
    self._sampler: sample.Sampler | None = None

  def write(self, step: int, params: PyTree) -> pathlib.Path:
    """Draws the grid of `step`."""
    if self._sampler is None:
      self._sampler = sample.Sampler(self._family, params, self._num)
    x = self._sampler(key(self._seed), params, self._num, self._rows)
    path = self._folder / f"{step:08d}.png"
    if meshes.is_main():
      path.parent.mkdir(exist_ok=True)
      sample.picture(path, self._family.spec, x, sample.columns(self._family))
    return path

  @functools.cached_property
  def _rows(self) -> dict[str, np.ndarray]:
    return _rows(self._family, self._source, self._num, {})


def key(seed: int) -> Key:
  """The key of samples."""
  return jax.random.fold_in(jax.random.key(seed), _SAMPLES)


def finish(trained: Trained) -> None:
  """Samples, loss plot and evaluation of a run that reached its last step; then says what there is to look at."""
  workdir, config = trained.workdir, trained.config
  seed = config.seed
  write_samples(trained, config.train.num_samples, seed=seed)
  if isinstance(trained.family, HasLatents) and trained.family.spec.kind == "image":
    write_reconstructions(trained, seed=seed)
  if meshes.is_main():
    writer.plot(workdir)
    print(f"loss plot: {workdir / 'loss.png'}")
  score(trained, seed=seed)
  if meshes.is_main():
    print(hint.launch(f"--mode=sample --workdir={workdir} --num=256"))


def write_samples(
  trained: Trained, num: int, *, seed: int, cond: dict[str, int | str | np.ndarray] | None = None
) -> None:
  """Writes `samples.npz` and `samples.png` to the run's directory, and prints what they cost."""
  family, workdir = trained.family, trained.workdir
  rows = _rows(family, trained.source, num, cond or {})
  x, cost = sample.draw(family, trained.params, num, key=key(seed), cond=rows)
  if not meshes.is_main():
    return
  sample.save(workdir / "samples.npz", family.spec, x, sample.conditions(family, num, rows))
  shown = x if family.spec.kind == "vector" else x[:_SHOWN]
  sample.picture(workdir / "samples.png", family.spec, shown, None if cond else sample.columns(family))
  print(
    f"samples: {workdir / 'samples.png'}, {workdir / 'samples.npz'} ({num} of step {trained.step}, "
    f"{'raw' if trained.raw else 'EMA'}, seed {seed}; {cost.seconds / num:.3g} s/image, "
    f"{cost.evaluations_per_image or 'adaptive'} network evaluations/image, compiled in {cost.compile_seconds:.1f} s)"
  )


def write_reconstructions(trained: Trained, *, seed: int) -> None:
  """Writes `reconstructions.png`: test images, and below each what becomes of it through its code."""
  source, split = trained.source, trained.source.split("test")
  index = np.resize(np.random.default_rng(seed).permutation(len(split)), _RECONSTRUCTED**2 // 2)
  x = np.asarray(source.prepare(key(seed), split[index], training=False)["x"])
  back = sample.through_codes(trained.family, trained.params, x, key=key(seed))
  if not meshes.is_main():
    return
  pairs = np.stack([a.reshape(-1, _RECONSTRUCTED, *x.shape[1:]) for a in (x, back)], axis=1)
  path = trained.workdir / "reconstructions.png"
  sample.picture(path, trained.family.spec, pairs.reshape(-1, *x.shape[1:]), _RECONSTRUCTED)
  print(f"reconstructions: {path} (test images, each above its own)")


def _rows(family: Family, source: Source, num: int, cond: dict[str, int | str | np.ndarray]) -> dict[str, np.ndarray]:
  """Rows of the conditions that are given; of all others but labels, those of the first examples of the test split."""
  rows = {name: value if isinstance(value, np.ndarray) else np.full(num, value) for name, value in cond.items()}
  others = [n for n in family.conditions if n not in rows and family.spec.entries[n].kind != "label"]
  if not others:
    return rows
  split = source.split("test")
  batch = source.prepare(key(0), split[np.arange(num) % len(split)], training=False)
  return rows | {name: np.asarray(batch[name]) for name in others}


def score(trained: Trained, *, seed: int) -> dict[str, Any]:
  """Evaluates, writes `metrics.json`, adds to `metrics.jsonl`, prints the table."""
  from gen_jax.run.evaluate import evaluate, show

  options = configs.section(trained.config, "evaluate")
  record = {"step": trained.step} | ({"overrides": list(trained.overrides)} if trained.overrides else {})
  record |= evaluate(trained, trained.source, options, seed=seed)
  if meshes.is_main():
    writer.record(trained.workdir, record)
    if "noise_levels" in record:
      path, known = trained.workdir / "consistency.png", slice(None, -1)  # at t_min f is where the trajectory ends
      curves = {
        "of f from the end of the trajectory": record["endpoint_distances"][known],
        "of f from its mean along the trajectory": record["consistency_errors"][known],
      }
      writer.curves(path, record["noise_levels"][known], curves, ("sigma / alpha", "root mean squared difference"))
      print(f"consistency along trajectories: {path}")
    show(record)
    print(f"metrics: {trained.workdir / 'metrics.json'}")
  return record
