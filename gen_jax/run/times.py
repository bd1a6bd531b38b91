"""Finds the times at which a consistency model's sampler adds noise again.

    python -m gen_jax.run.times --workdir=runs/consistency_digits_distillation --steps=3

Each time in turn is where the Frechet distance to training images is least, found by golden-section search with
parabolic steps (Brent) over the logarithm of the noise level: greedy, as in arXiv:2303.01469, section 3. The test split
is not looked at.
"""

import argparse
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from gen_jax.errors import InputError, check_seed
from gen_jax.metrics import frechet
from gen_jax.processes.consistency import ConsistencyModel, refine
from gen_jax.run import compile as compiling
from gen_jax.run import config as configs
from gen_jax.run import hint, sample
from gen_jax.run.load import Trained, load
from gen_jax.solvers.base import half_log_snr
from gen_jax.solvers.grids import time_at

_TOLERANCE = 0.1  # of the logarithm of a noise level


def search(trained: Trained, steps: int, *, num: int = 2000, seed: int = 0) -> list[tuple[float, float]]:
  """(time, Frechet distance once it is there) of each of `steps` evaluations; the first time is t_max.

  Args:
    trained: a run of a consistency model.
    steps: network evaluations of a sample, at least 1.
    num: samples and training images to compare.
    seed: of both.

  Raises:
    InputError: not a consistency model, or no steps.
  """
  family = trained.family
  if not isinstance(family, ConsistencyModel):
    raise InputError(f"{type(family).__name__} has no consistency function: this is for consistency models")
  if steps < 1:
    raise InputError(f"--steps={steps} should be at least 1")
  path, (x, cond), distance = family.path, _start(trained, num, seed), _distance(trained, num, seed)
  again = compiling.jit(
    lambda key, params, x, level, cond: refine(key, family.origin(params, cond), path, x, time_at(path, -level[None]))
  )
  lowest, highest = (float(-half_log_snr(path, jnp.asarray(t))) for t in (path.t_min, path.t_max))
  found = [(path.t_max, distance(x))]
  for n in range(1, steps):
    key = jax.random.fold_in(jax.random.key(seed), n)
    moved = lambda level, x=x, key=key: again(key, trained.params, x, jnp.float32(level), cond)
    span = dict(bounds=(lowest, highest), method="bounded", options=dict(xatol=_TOLERANCE))
    best = optimize.minimize_scalar(lambda level, moved=moved: distance(moved(level)), **span)
    x, highest = moved(best.x), float(best.x)  # the next adds less noise
    found.append((float(time_at(path, jnp.float32(-best.x))), float(best.fun)))
  return found


def _start(trained: Trained, num: int, seed: int) -> tuple[jax.Array, dict[str, np.ndarray] | None]:
  """One-step samples, and what they are conditioned on."""
  family, cond = trained.family, sample.conditions(trained.family, num)
  noise = family.path.prior(jax.random.key(seed), (num, *family.spec.shape))
  first = compiling.jit(lambda params, noise, cond: family.origin(params, cond)(family.path.t_max, noise))
  return first(trained.params, noise, cond), cond


def _distance(trained: Trained, num: int, seed: int) -> Any:
  """Samples -> their Frechet distance to training images, by the features that the run is evaluated with."""
  features = configs.section(trained.config, "evaluate").features
  split = trained.source.split("train")
  rows = np.random.default_rng(seed).permutation(len(split))[:num]
  real = trained.source.prepare(jax.random.key(seed), split[rows], training=False)
  reference = features.embed(np.asarray(real["x"]))[0]
  shown = (lambda x: x.clip(-1, 1)) if trained.family.spec.kind == "image" else lambda x: x
  return lambda x: frechet.distance(features.embed(shown(np.asarray(x)))[0], reference)


def main() -> int:
  """The command line; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--workdir", required=True, help="a run of a consistency model")
  parser.add_argument("--steps", type=int, default=2, help="network evaluations of a sample")
  parser.add_argument("--seed", type=int, default=0, help="of the samples and of the choice of training images")
  flags = parser.parse_args()
  try:
    check_seed("--seed", flags.seed)
    trained = load(flags.workdir)
    found = search(trained, flags.steps, seed=flags.seed)
  except InputError as e:
    print(f"error: {e}", file=sys.stderr)
    return 2
  for time, distance in found:
    print(f"t = {time:.5g}: Frechet distance to training images {distance:.4g}")
  times = (*(round(time, 5) for time, _ in found), trained.family.path.t_min)
  grid = str({"name": "grids.times", "ts": times}).replace(" ", "")
  options = f'--config.family.steps={flags.steps} --config.family.grid="{grid}"'
  print(hint.launch(f"--mode=eval --workdir={flags.workdir} {options}"))
  return 0


if __name__ == "__main__":
  sys.exit(main())
