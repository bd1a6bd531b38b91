"""What surrounds the steps: many of them in one dispatch against one in each, and the way to the first.

The peer of 50 steps per dispatch is one step per dispatch, of our own. The time to the first training step is that
from the command to its row in `train.jsonl`, for the U-Net of `unet_bench.py` on handwritten digits.
"""

import functools
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from benchmarks.timing import Row, Work, compare
from gen_jax.families.diffusion import Diffusion
from gen_jax.nets.mlp import TimeMLP
from gen_jax.run import compile as compiling
from gen_jax.types import Spec

_ROOT = pathlib.Path(__file__).parent.parent
_STEPS, _BATCH = 50, 256
_RUNS = 3


def rows(name: str) -> Iterator[Row]:
  """Yields the rows whose name has `name` in it."""
  dispatch = f"MLP-sized step: {_STEPS} steps in one dispatch"
  if name in dispatch:
    yield compare(dispatch, _steps(num=_STEPS), "one step in each", _steps(num=1), runs=15)
  for cache in ("cold", "warm"):
    first = f"command to first training step, U-Net, {cache} compilation cache"
    if name in first:
      with tempfile.TemporaryDirectory() as folder:
        if cache == "warm":
          _seconds_to_first_step(pathlib.Path(folder))
        runs = [_seconds_to_first_step(pathlib.Path(folder), fresh=cache == "cold") for _ in range(_RUNS)]
      yield Row(name=first, ours=statistics.median(runs))


def _steps(num: int) -> Work:
  """_STEPS training steps of a small MLP, `num` of them per dispatch."""
  family, key = Diffusion(spec=Spec(shape=(2,), kind="vector"), net=TimeMLP()), jax.random.key(0)
  batch = {"x": jax.random.normal(key, (_BATCH, 2))}
  state = jax.jit(family.init)(key, batch)

  @functools.partial(compiling.jit, donate_argnums=0)
  def dispatch(state, first):
    step = lambda state, i: family.step(jax.random.fold_in(key, i), state, batch)
    return jax.lax.scan(step, state, first + jnp.arange(num))

  def work():
    nonlocal state
    for first in range(0, _STEPS, num):
      state, metrics = dispatch(state, first)
    return metrics

  return work


def _seconds_to_first_step(folder: pathlib.Path, *, fresh: bool = False) -> float:
  """From the command to its first row; `folder` holds the compilation cache, unless it is to start `fresh`."""
  with tempfile.TemporaryDirectory(dir=folder) as run:
    workdir = pathlib.Path(run) / "run"
    command = [sys.executable, "launch.py", "--config=configs/diffusion_digits.py", f"--workdir={workdir}"]
    net = dict(channels=64, multipliers=(1, 2, 2), blocks=2, attention=(1,))
    fields = {"train.log_every": 1, "train.steps_per_dispatch": 1, **{f"family.net.{k}": v for k, v in net.items()}}
    command += [f"--config.{field}={value}" for field, value in fields.items()]
    cache = pathlib.Path(run if fresh else folder) / "cache"
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}  # which a command sets for itself
    start = time.perf_counter()
    process = subprocess.Popen(
      command, cwd=_ROOT, env=environment | {"JAX_COMPILATION_CACHE_DIR": str(cache)}, stdout=subprocess.DEVNULL
    )
    try:
      return _until_row(process, workdir / "train.jsonl") - start
    finally:
      process.kill()
      process.wait()


def _until_row(process: subprocess.Popen, file: pathlib.Path) -> float:
  """The time when `file` has something in it."""
  while process.poll() is None:
    if file.exists() and file.stat().st_size:
      return time.perf_counter()
    time.sleep(0.01)
  raise RuntimeError(f"the run ended with code {process.returncode} before its first step")
