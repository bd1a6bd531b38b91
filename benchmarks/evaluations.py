"""Frechet distance against network evaluations: several solvers on one trained network, in one process.

    python -m benchmarks.evaluations --workdir=runs/diffusion_digits

Every solver takes the samples of one seed with each number of evaluations, the last denoising included, and the grid of
times that its paper recommends. The distance is to the test split, by the features that the run is evaluated with; its
floor is that of training images.
"""

import argparse
import sys

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from gen_jax.errors import InputError
from gen_jax.metrics import frechet
from gen_jax.run import compile as compiling
from gen_jax.run import config as configs
from gen_jax.run import sample
from gen_jax.run.load import Trained, load

_SOLVERS = {
  "DDPM, ancestral": ("semilinear.ancestral", "grids.linear", 1),
  "DDIM": ("semilinear.ddim", "grids.linear", 1),
  "Heun (EDM)": ("edm.heun", "grids.rho", 2),
  "DPM-Solver++(2M)": ("semilinear.dpmpp_2m", "grids.log_snr", 1),
  "UniPC-3": ({"name": "adams.unipc", "order": 3}, "grids.log_snr", 1),
  "DEIS-3": ({"name": "deis.deis", "order": 3}, "grids.quadratic", 1),
}
# One more than a multiple of two: Heun's method takes two a step, and all denoise once.
_EVALUATIONS = (5, 9, 17, 33, 65)


def main() -> int:
  """Measures and prints the table; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--workdir", required=True, help="a run of a diffusion, score or flow-matching model")
  parser.add_argument("--num", type=int, default=1442, help="number of samples and, at most, of test images")
  parser.add_argument("--seed", type=int, default=0, help="of the samples")
  flags = parser.parse_args()
  compiling.use_cache()
  try:
    trained = load(flags.workdir)
  except InputError as e:
    print(f"error: {e}", file=sys.stderr)
    return 2
  embed = configs.section(trained.config, "evaluate").features.embed
  rows = lambda name: _images(trained, name, flags.num, flags.seed)
  reference = embed(rows("test"))[0]
  floor = frechet.distance(embed(rows("train"))[0], reference)
  title = f"{flags.workdir}: {flags.num} samples, {len(reference)} test images, seed {flags.seed}, floor {floor:.3f}"
  table = Table("solver", *map(str, _EVALUATIONS), title=title)
  for name, (solver, grid, calls) in _SOLVERS.items():
    cells = []
    for evaluations in _EVALUATIONS:
      steps = (evaluations - 1) // calls
      model = load(flags.workdir, overrides=_overrides(solver, grid, steps))
      x, _ = sample.draw(model.family, model.params, flags.num, key=jax.random.key(flags.seed), batch_size=250)
      cells.append(f"{frechet.distance(embed(x.clip(-1, 1))[0], reference):.3f}")
    table.add_row(name, *cells)
    print(name, *cells, flush=True)
  Console().print(table)
  return 0


def _overrides(solver: str | dict, grid: str, steps: int) -> list[tuple[str, str]]:
  fields = {"family.solver": solver, "family.grid": grid, "family.steps": steps}
  return [(field, repr(value)) for field, value in fields.items()]


def _images(trained: Trained, name: str, num: int, seed: int) -> np.ndarray:
  """`num` images of a split, or all where there are fewer."""
  split = trained.source.split(name)
  rows = np.random.default_rng(seed).permutation(len(split))[:num]
  return np.asarray(trained.source.prepare(jax.random.key(seed), split[rows], training=False)["x"])


if __name__ == "__main__":
  sys.exit(main())
