"""What surrounds the steps: many of them in one dispatch against one in each, and the way to the first.

The peer of 50 steps per dispatch is one step per dispatch, of our own: both are trainings by `launch.py`, of three
families with multilayer perceptrons, and of one of them with smaller ones, since a dispatch costs the same whatever is
in it. What is compared is the median of the rates in their `train.jsonl`. The time
to the first training step is that from the command to its row there, for the U-Net of `unet_bench.py` on handwritten
digits.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks.timing import Row

_ROOT = pathlib.Path(__file__).parent.parent
_STEPS = 50  # of a dispatch
_TRAINED = 1000  # steps of each training
_TINY = {"family.encoder.width": 64, "family.decoder.width": 64, "train.batch_size": 64}
_SMALL = {  # name -> (config, fields)
  "vae_digits, layers and batch of 64": ("vae_digits", _TINY),
  **{config: (config, {}) for config in ("vae_digits", "diffusion_ring", "gan_ring")},
}
_RUNS = 3


def rows(name: str) -> Iterator[Row]:
  """Yields the rows whose name has `name` in it."""
  for work, (config, fields) in _SMALL.items():
    dispatch = f"{work}: {_STEPS} steps in one dispatch"
    if name in dispatch:
      yield _dispatches(dispatch, config, fields)
  for cache in ("cold", "warm"):
    first = f"command to first training step, U-Net, {cache} compilation cache"
    if name in first:
      with tempfile.TemporaryDirectory() as folder:
        if cache == "warm":
          _seconds_to_first_step(pathlib.Path(folder))
        runs = [_seconds_to_first_step(pathlib.Path(folder), fresh=cache == "cold") for _ in range(_RUNS)]
      yield Row(name=first, ours=statistics.median(runs))


def _dispatches(name: str, config: str, fields: dict[str, int]) -> Row:
  """Seconds of _STEPS steps in one dispatch and in as many, in turn."""
  seconds = lambda num: _STEPS / _rate(config, fields | {"train.steps_per_dispatch": num})
  pairs = [(seconds(_STEPS), seconds(1)) for _ in range(_RUNS)]
  mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
  return Row(name=name, ours=mine, peer_name="one step in each", peer=theirs, ratios=tuple(b / a for a, b in pairs))


def _rate(config: str, fields: dict[str, int]) -> float:
  """The median number of steps per second of a training with these fields."""
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder) / "run"
    command = _command(config, workdir, {"train.steps": _TRAINED, "evaluate.num": 64} | fields)
    subprocess.run(command, cwd=_ROOT, env=_environment(), stdout=subprocess.DEVNULL, check=True)
    rows = map(json.loads, (workdir / "train.jsonl").read_text().splitlines())
    return statistics.median(row["steps_per_second"] for row in rows if "steps_per_second" in row)


def _seconds_to_first_step(folder: pathlib.Path, *, fresh: bool = False) -> float:
  """From the command to its first row; `folder` holds the compilation cache, unless it is to start `fresh`."""
  with tempfile.TemporaryDirectory(dir=folder) as run:
    workdir = pathlib.Path(run) / "run"
    net = dict(channels=64, multipliers=(1, 2, 2), blocks=2, attention=(1,))
    fields = {"train.log_every": 1, "train.steps_per_dispatch": 1, **{f"family.net.{k}": v for k, v in net.items()}}
    command = _command("diffusion_digits", workdir, fields)
    cache = pathlib.Path(run if fresh else folder) / "cache"
    environment = _environment() | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=subprocess.DEVNULL)
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


def _command(config: str, workdir: pathlib.Path, fields: dict[str, object]) -> list[str]:
  settings = [f"--config.{field}={value}" for field, value in fields.items()]
  return [sys.executable, "launch.py", f"--config=configs/{config}.py", f"--workdir={workdir}", *settings]


def _environment() -> dict[str, str]:
  """That of a command that a user gives: it sets GLIBC_TUNABLES for itself."""
  return {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
