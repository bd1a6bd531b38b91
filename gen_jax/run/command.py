"""The command line: what it may say, what it does, and how it fails in one line."""

import argparse
import contextlib
import errno
import os
import pathlib
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn, TextIO

from gen_jax.errors import InputError, check_seed, in_short, near, out_of_memory
from gen_jax.run.signals import Stopped

_MODES = {"train": (), "eval": ("--seed", "--raw"), "sample": ("--num", "--cond", "--seed", "--raw")}  # what each reads


class _Parser(argparse.ArgumentParser):
  """Reports errors as everything else does."""

  def error(self, message: str) -> None:
    raise InputError(message)


def main(argv: Sequence[str], doc: str) -> int:
  """Does what the command line `argv` says; returns the exit code: 2 for bad input, 128 + the number of a signal."""
  try:
    _run(*parse(argv, doc))
  except Stopped as e:
    _say(e.message, sys.stdout)
    return e.code
  except KeyboardInterrupt:  # where no training is going on that would save first
    _say("SIGINT: stopped", sys.stdout)
    return 128 + signal.SIGINT
  except BrokenPipeError:  # of what it prints nothing is read any more, as by `| head`
    return 128 + signal.SIGPIPE
  except Exception as e:
    line = _explain(e)
    if line is None or "--traceback" in argv:
      raise
    _say(f"error: {line}", sys.stderr)
    return 2
  return 0


def leave(code: int) -> NoReturn:
  """Ends the process with the exit code of `main`.

  Where that is not 0, at once: a program that runs on a device, in a thread of XLA's, would outlive what it runs on and
  crash, and what other threads left unfinished would complain. Other processes, where there are, are told first.
  """
  jax = sys.modules.get("jax")
  if code and not (jax and jax.distributed.is_initialized()):
    for stream in (sys.stdout, sys.stderr):
      _say("", stream)
    os._exit(code)
  sys.exit(code)


def _say(text: str, stream: TextIO) -> None:
  """Prints `text`, and what was to be printed before, unless nobody reads it any more."""
  with contextlib.suppress(OSError):
    print(text, file=stream, end="\n" if text else "", flush=True)


def parse(argv: Sequence[str], doc: str = "") -> tuple[argparse.Namespace, list[tuple[str, str]]]:
  """(flags, overrides of the config).

  Raises:
    InputError: an unknown flag or mode, or a value of the wrong type.
  """
  parser = _Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
  add = parser.add_argument
  add("--config", help="configs/<file>.py or configs/<file>.py:variant; eval and sample take the run's own by default")
  add("--workdir", help="where the run lives")
  add("--mode", default="train", help=", ".join(_MODES))
  add("--num", type=int, default=64, help="number of samples")
  add("--cond", help='what samples are conditioned on: label=3, "caption=a six", boxes=FILE.npy')
  add("--seed", type=int, default=0, help="seed of samples and evaluations; that of the training is --config.seed")
  add("--raw", action="store_true", help="take the raw parameters rather than their moving average")
  add("--traceback", action="store_true", help="show where an error came from")
  flags, rest = parser.parse_known_args(argv)
  known = [flag for action in parser._actions for flag in action.option_strings]
  for word in rest:
    if not word.startswith("--config."):
      name = word.partition("=")[0]
      fields = [f"--config.{name.lstrip('-')}"] if "." in name else []
      raise InputError(f"unknown argument {word!r}: {near(name, known + fields)}")
    if "=" not in word:
      raise InputError(f"{word!r} has no value: write {word}=value")
  if not flags.workdir:
    raise InputError("--workdir=runs/<name> is missing: where the run lives")
  flags.workdir = pathlib.Path(os.path.expanduser(flags.workdir))  # shells leave the ~ of --workdir=~/runs as it is
  if flags.mode not in _MODES:
    raise InputError(f"unknown mode {flags.mode!r}: {near(flags.mode, _MODES)}")
  if flags.mode == "train" and not flags.config:
    raise InputError("--mode=train needs --config=configs/<file>.py")
  for name in _MODES["sample"]:  # which reads them all
    if name not in _MODES[flags.mode] and any(word.partition("=")[0] == name for word in argv):
      remedy = "write --config.seed" if name == "--seed" else f"it belongs to --mode={_reader(name)}"
      raise InputError(f"--mode={flags.mode} takes no {name}: {remedy}")
  if flags.num < 1:
    raise InputError(f"--num={flags.num} should be at least 1")
  check_seed("--seed", flags.seed)
  return flags, [tuple(word.removeprefix("--config.").split("=", 1)) for word in rest]


def _reader(flag: str) -> str:
  return next(mode for mode, flags in _MODES.items() if flag in flags)


def _run(flags: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
  # Imported here: what the command line gets wrong is said at once, before seconds of imports.
  from gen_jax.run import compile as compiling
  from gen_jax.run import config as configs

  config = configs.load(flags.config, overrides) if flags.config else configs.saved(flags.workdir, overrides)
  if flags.mode == "train":
    from gen_jax.run.train import train

    train(config, flags.workdir)
    return
  from gen_jax.run import finish, sample
  from gen_jax.run import mesh as meshes
  from gen_jax.run.load import load

  meshes.start()  # of several processes one writes
  compiling.use_cache()
  trained = load(flags.workdir, flags.raw, config=config)
  if flags.mode == "eval":
    finish.score(trained, seed=flags.seed)
  else:
    finish.write_samples(trained, flags.num, seed=flags.seed, cond=sample.parse(flags.cond))


def _explain(error: Exception) -> str | None:
  """One line with its remedy; None for what is nobody's input."""
  if isinstance(error, InputError):
    return str(error)
  if out_of_memory(error):
    fields = "train.batch_size, train.steps_per_dispatch, train.max_resident_bytes, evaluate.batch_size"
    return f"{in_short(error).rstrip('.')}: make the model, {fields} or --num smaller"
  if not isinstance(error, OSError):
    return None
  place = f"{error.filename}: " if error.filename else ""
  if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
    remedy = "make room, or raise the limit; the same command goes on from the last checkpoint"
  else:
    remedy = "choose a --workdir that you may write to"
  return f"{place}{error.strerror or error}: {remedy}"
