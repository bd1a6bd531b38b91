"""Editing without training, scored: a model of scenes, told nothing of them, does what others are trained for.

    python -m benchmarks.editing --workdir=runs/diffusion_scenes_layout

The run is one of `configs/diffusion_scenes.py` with scenes of two digits; its condition is hidden. For test scenes it
is given what the variants `superresolution` and `inpainting` are conditioned on, and a digit reader looks for the
digits of the scene at their places, as it does for those variants. Prints a table; its last row is of the scenes.
"""

import argparse
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from gen_jax.data.digit_scenes import DigitScenes
from gen_jax.errors import InputError
from gen_jax.family import HasDenoiser
from gen_jax.metrics.scenes import Reader
from gen_jax.ops.shapes import batches
from gen_jax.processes import editing
from gen_jax.processes.gaussian import Gaussian
from gen_jax.processes.guidance import Denoise, clipped
from gen_jax.run import compile as compiling
from gen_jax.run import sample
from gen_jax.run.load import load
from gen_jax.solvers import semilinear
from gen_jax.solvers.base import integrate
from gen_jax.solvers.grids import lay, log_snr
from gen_jax.types import Array, Batch, Key

_STEPS = 48
_BATCH = 125
_STD = 0.5  # of the pixels of scenes, about
_RESAMPLES = 5  # of RePaint
_GUIDE = 0.6  # the time that SDEdit goes back to


def posterior_superresolution(key: Key, denoise: Denoise, path: Gaussian, rows: Batch) -> Array:
  """Scenes whose averages over 4x4 pixels are `small`, by pseudoinverse guidance."""
  return _posterior(key, denoise, path, rows, _averages, rows["small"])


def posterior_inpainting(key: Key, denoise: Denoise, path: Gaussian, rows: Batch) -> Array:
  """Scenes of which a half is known, in the same way."""
  seen = _seen(rows)
  return _posterior(key, denoise, path, rows, lambda x: seen * x, seen * rows["masked"][..., :-1])


def repaint_inpainting(key: Key, denoise: Denoise, path: Gaussian, rows: Batch) -> Array:
  """The same by RePaint."""
  x, ts = rows["masked"][..., :-1], lay(log_snr(), path, _STEPS)
  known, walk = _seen(rows) > 0, dict(resamples=_RESAMPLES, jump=8)
  return editing.repaint(key, clipped(denoise), path, semilinear.ancestral, x, known, ts, **walk)


def sdedit_superresolution(key: Key, denoise: Denoise, path: Gaussian, rows: Batch) -> Array:
  """SDEdit, of the scene at 8x8 as a guide."""
  guide = rows["small"].repeat(4, 1).repeat(4, 2)
  ts = jnp.linspace(_GUIDE, path.t_min, _STEPS + 1)
  return editing.sdedit(key, clipped(denoise), path, semilinear.dpmpp_2m, guide, ts)


Edit = Callable[[Key, Denoise, Gaussian, Batch], Array]
EDITS: dict[str, Edit] = {
  "superresolution, posterior sampling": posterior_superresolution,
  "superresolution, SDEdit": sdedit_superresolution,
  "inpainting, posterior sampling": posterior_inpainting,
  "inpainting, RePaint": repaint_inpainting,
}


def main() -> int:
  """Measures and prints the table; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--workdir", required=True, help="a run of scenes")
  parser.add_argument("--num", type=int, default=500, help="number of test scenes")
  parser.add_argument("--seed", type=int, default=0, help="of the noise, and which scenes")
  parser.add_argument("--picture", help="a PNG of the first scenes, a row for each edit, the scenes themselves last")
  flags = parser.parse_args()
  compiling.use_cache()
  try:
    trained = load(flags.workdir)
    Reader().check(trained.source)
    if not (isinstance(trained.family, HasDenoiser) and trained.family.cond_dropout):
      raise InputError(f"{flags.workdir} is no run of a diffusion model whose condition was hidden at times")
  except InputError as e:
    print(f"error: {e}", file=sys.stderr)
    return 2
  rows = _rows(trained.source, flags.num, flags.seed)
  table = Table("edit", "digits found", "scenes right", title=f"{flags.workdir}: {flags.num} test scenes")
  shown = []
  for name, edit in EDITS.items():
    x = _edited(edit, trained, rows, flags.seed)
    score = Reader().score(trained.source, ("boxes",), rows, x)
    table.add_row(name, f"{score['digits_found']:.1%}", f"{score['scenes_right']:.1%}")
    print(name, score, flush=True)
    shown.append(x[:16])
  table.add_row("the scenes", f"{score['digits_found_floor']:.1%}", f"{score['scenes_right_floor']:.1%}")
  Console().print(table)
  if flags.picture:
    sample.picture(flags.picture, trained.source.spec, np.concatenate([*shown, rows["x"][:16]]), 16)
  return 0


def _edited(edit: Edit, trained, rows: dict[str, np.ndarray], seed: int) -> np.ndarray:
  family, out = trained.family, []

  @compiling.jit
  def fn(key, params, rows):
    return edit(key, family.denoiser(params), family.path_of(params), rows)

  for index in batches(len(rows["x"]), _BATCH):
    chunk = {name: value[index] for name, value in rows.items()}
    out.append(np.asarray(fn(jax.random.fold_in(jax.random.key(seed), index[0]), trained.params, chunk)))
  return np.concatenate(out)[: len(rows["x"])].clip(-1, 1)


def _rows(source: DigitScenes, num: int, seed: int) -> dict[str, np.ndarray]:
  split = source.split("test")
  index = np.random.default_rng(seed).permutation(len(split))[:num]
  return jax.device_get(source.prepare(jax.random.key(seed), split[index], training=False))


def _posterior(key: Key, denoise: Denoise, path: Gaussian, rows: Batch, measure: Callable, y: Array) -> Array:
  key_prior, key_path = jax.random.split(key)
  guided, ts = clipped(editing.posterior(denoise, path, measure, y, std=_STD)), lay(log_snr(), path, _STEPS)
  noise = path.prior(key_prior, rows["x"].shape)
  return guided(ts[-1], integrate(semilinear.ancestral, path.problem(guided), key_path, noise, ts))


def _averages(x: Array) -> Array:
  num, height, width, channels = x.shape
  return x.reshape(num, height // 4, 4, width // 4, 4, channels).mean((2, 4))


def _seen(rows: Batch) -> Array:
  """1 where `masked` shows the scene, 0 where it hides it."""
  return (1 - rows["masked"][..., -1:]) / 2


if __name__ == "__main__":
  sys.exit(main())
