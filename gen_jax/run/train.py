"""Trains a run, from whatever its directory holds to a finished run."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from concurrent import futures
from typing import Any, Literal

import jax
import ml_collections

from gen_jax.data.feed import feed
from gen_jax.errors import InputError, at_least, one_line
from gen_jax.family import Family, State, count
from gen_jax.run import checkpoint, evaluate, sample, writer
from gen_jax.run import compile as compiling
from gen_jax.run import config as configs
from gen_jax.run import mesh as meshes
from gen_jax.run.finish import finish
from gen_jax.run.hold import Hold
from gen_jax.run.load import Trained
from gen_jax.run.loop import Loop, Program
from gen_jax.run.signals import Signals
from gen_jax.types import PyTree

# Files that a run writes beside its config.
_PICTURES = ("loss.png", "samples.png", "reconstructions.png", "consistency.png")
_WRITTEN = ("train.jsonl", "metrics.json", "metrics.jsonl", "samples.npz", *_PICTURES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
  """How a run trains. But for rounding, the first two fields alone decide the parameters that it ends with.

  Attributes:
    steps: number of steps.
    batch_size: examples per step, over all devices.
    steps_per_dispatch: steps per call of the compiled program, none of which goes past a checkpoint; "auto" measures.
    log_every: a row of `train.jsonl` is the mean over this many steps.
    save_every: steps between checkpoints.
    keep: how many checkpoints to keep.
    sample_every: steps between grids of samples; 0 for one at the end only.
    num_samples: samples in a grid.
    fsdp: whether to divide large parameters over the devices rather than keeping them whole on each.
    max_resident_bytes: data sets up to this size live on the device, larger ones are streamed.
  """

  steps: int
  batch_size: int = 128
  steps_per_dispatch: int | Literal["auto"] = "auto"
  log_every: int = 50
  save_every: int = 1000
  keep: int = 2
  sample_every: int = 1000
  num_samples: int = 64
  fsdp: bool = False
  max_resident_bytes: int = 2**30

  def __post_init__(self):
    positive = ("steps", "batch_size", "log_every", "save_every", "keep", "num_samples")
    positive += () if self.steps_per_dispatch == "auto" else ("steps_per_dispatch",)
    at_least(1, "train.", **{name: getattr(self, name) for name in positive})
    at_least(0, "train.", sample_every=self.sample_every, max_resident_bytes=self.max_resident_bytes)


def train(config: ml_collections.ConfigDict, workdir: str | os.PathLike) -> Trained:
  """Trains the run in `workdir` to its last step, from wherever it is; then samples and evaluates it.

  Args:
    config: complete, from `config.load`.
    workdir: where the run lives.

  Raises:
    InputError: `workdir` holds another run, or another process trains in it; what the config describes cannot be
      traced; no checkpoint can be used; a metric is not finite.
    Stopped: after SIGTERM or SIGINT, with everything saved.
  """
  mesh = meshes.start()  # first of all: what a config describes may use JAX, after which processes cannot meet
  compiling.use_cache()
  workdir, options = pathlib.Path(os.path.expanduser(workdir)), configs.section(config, "train")
  scoring = configs.section(config, "evaluate")
  refuse_other(config, workdir)
  with Signals() as signals, Hold(workdir) as hold:
    meshes.on_main(hold.take)
    source, family = configs.build(config)
    with one_line("data"):
      data = feed(
        source,
        seed=config.seed,
        batch_size=options.batch_size,
        sharding=meshes.rows(mesh),
        max_resident_bytes=options.max_resident_bytes,
      )
    scoring.check(source)
    checkpoints = checkpoint.Checkpoints(workdir, config, options.keep)
    loop = Loop(family=family, feed=data, options=options, seed=config.seed, mesh=mesh, checkpoints=checkpoints)
    step, state, program = _prepare(loop, scoring)
    meshes.barrier("compared")
    meshes.on_main(lambda: _begin(config, step, checkpoints, hold))
    with writer.Writer(
      workdir,
      first=step,
      last=options.steps,
      batch_size=options.batch_size,
      log_every=options.log_every,
      quiet=not meshes.is_main(),
    ) as log:
      log.say(_headline(config, source, state, mesh, workdir))
      if step:
        log.say(f"goes on from step {step}")
      for line in _schedules(config.family.to_dict(), options.steps):
        log.say(line)
      with signals.deferred():
        state = loop.run(step, state, program, log, signals)
    params = meshes.fetch(mesh, state.eval_params)
    raw = state.ema is None
    made = dict(config=config, workdir=workdir, step=options.steps, raw=raw)
    trained = Trained(family=family, source=source, params=params, **made)
    finish(trained)
  return trained


def _prepare(loop: Loop, scoring: evaluate.Evaluate) -> tuple[int, State, Program]:
  """(step, state, what takes the steps) that the training starts with; what cannot be traced is refused."""
  found = loop.restore()
  pool = futures.ThreadPoolExecutor(2)  # compiles, beside which the rest is traced
  try:
    fresh = None if found else pool.submit(loop.init())
    program = loop.program()
    done = found and found[0] >= loop.options.steps
    compiled = None if done else pool.submit(program.compile)
    rehearse(loop.family, loop.like.params, scoring)
    if compiled:
      compiled.result()
    return *(found or (0, fresh.result()())), program
  finally:
    pool.shutdown(wait=False, cancel_futures=True)  # what went wrong is said before the rest is compiled


def _begin(config: ml_collections.ConfigDict, step: int, checkpoints: checkpoint.Checkpoints, hold: Hold) -> None:
  """Makes the folder of a run that starts at `step`, and not before: what was refused leaves nothing behind."""
  workdir = checkpoints.workdir
  workdir.mkdir(parents=True, exist_ok=True)
  hold.take()
  refuse_other(config, workdir)  # what came in between, where there was no directory yet to hold
  if step != max(checkpoints.steps(), default=0):
    raise InputError(f"another process has trained in {workdir} meanwhile: give the command again, to go on from it")
  checkpoints.folder.mkdir(exist_ok=True)
  configs.save(config, workdir)


def rehearse(family: Family, params: PyTree, scoring: evaluate.Evaluate) -> None:
  """Traces the sampler and the likelihood, so that what does not fit is found before the training and not after."""
  key, cond = jax.random.key(0), sample.conditions(family, 2)
  # Without a place on the mesh, as the key is: else a network is traced anew for what has met its parameters.
  params = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), params)
  with one_line("the sampler"):
    jax.eval_shape(lambda key, params: family.sample(key, params, 2, cond), key, params)
  if taken := evaluate.likelihood(family, scoring):
    with one_line("the likelihood"):
      x = jax.ShapeDtypeStruct((2, *family.spec.shape), "float32")
      jax.eval_shape(lambda key, params, x: taken[1](key, params, x, cond), key, params, x)


def refuse_other(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Raises InputError where `workdir` holds the run of another config, with the fields that differ, or no run's files.

  A config alone, of a run that made no step, is in nobody's way.
  """
  made = checkpoint.Checkpoints(workdir, config).steps()
  if not configs.exists(workdir):
    for path in (workdir / name for name in _WRITTEN):
      if path.exists() and not made:
        raise InputError(f"{path} would be overwritten, and no run wrote it: use another --workdir")
    return
  try:
    saved = configs.saved(workdir)
  except InputError as e:
    raise InputError(f"the config in {workdir} is of no run that could go on ({e}): use another --workdir") from None
  if not made and not writer.rows(workdir / "train.jsonl"):
    return
  differing = configs.differences(saved.to_dict(), config.to_dict())
  if differing == [f"train.steps: {saved.train.steps} -> {config.train.steps}"]:
    raise InputError(
      f"{workdir} holds a run of {saved.train.steps} steps: --mode=eval and --mode=sample take it as it is"
    )
  if differing:
    raise InputError(f"{workdir} holds a run of another config ({'; '.join(differing)}): use another --workdir")


def _schedules(section: Mapping[str, Any], steps: int, place: str = "family") -> Iterator[str]:
  """A line for every schedule that ends before the training or after it."""
  for key, value in section.items():
    if isinstance(value, Mapping):
      yield from _schedules(value, steps, f"{place}.{key}")
    elif key == "decay_steps" and value not in (None, steps) and section.get("schedule") != "constant":
      yield f"note: the learning rate decays over {value} steps ({place}.{key}), the training takes {steps}"
    elif key == "total" and value != steps:
      yield f"note: the curriculum takes {value} steps ({place}.{key}), the training {steps}"
    elif key == "rounds" and (whole := value * section.get("round_steps", 0)) > steps:
      yield f"note: {value} rounds take {whole} steps ({place}.round_steps), the training {steps}"


def _headline(config, source, state, mesh, workdir) -> str:
  device = mesh.devices.flat[0]
  sizes = ", ".join(f"{len(source.split(name)):,} {name}" for name in ("train", "test"))
  return (
    f"{config.family.name}, {count(state.params):,} parameters | {config.data.name}, {sizes} | "
    f"{mesh.size} x {device.device_kind}, {jax.process_count()} process(es) | {workdir}"
  )
