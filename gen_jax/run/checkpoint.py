"""Checkpoints: all of State, its step and its config, each written all or nothing and verified when read.

A checkpoint is a directory `checkpoints/<step>` with what orbax wrote (`state`) and a manifest: the config of the run,
and the size and digest of every file. It is written under a hidden name and renamed when it is complete, so whatever
has a number for a name was once whole; the digests tell whether it still is.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_collections

from gen_jax.errors import InputError, in_short, out_of_memory
from gen_jax.family import State
from gen_jax.run import config as configs
from gen_jax.run import mesh as meshes
from gen_jax.types import PyTree

_MANIFEST = "manifest.json"
_REPLACED = 20  # checkpoints that may vanish while they are read


class _Unusable(Exception):
  """Why a checkpoint cannot be used."""


@dataclasses.dataclass(frozen=True)
class Checkpoints:
  """The checkpoints of one run.

  Attributes:
    workdir: the run's directory; they live in `checkpoints` below it.
    config: the run's complete config.
    keep: how many to keep: the newest.
  """

  workdir: pathlib.Path
  config: ml_collections.ConfigDict
  keep: int = 2

  @property
  def folder(self) -> pathlib.Path:
    """Where they live."""
    return pathlib.Path(self.workdir).absolute() / "checkpoints"

  def steps(self) -> list[int]:
    """The steps that have a checkpoint, good or not, ascending."""
    names = os.listdir(self.folder) if self.folder.is_dir() else []
    return sorted(int(name) for name in names if _is_step(name))

  def save(self, step: int, state: State) -> pathlib.Path:
    """Writes a checkpoint and deletes those beyond `keep`; every process calls it.

    Raises:
      InputError: the run's directory is gone.
      OSError: it cannot be written; those before it are untouched.
    """
    draft, final = self.folder / f".{step}", self.folder / str(step)
    meshes.on_main(self._make_room)
    self._check_space(state)
    try:
      _write(draft / "state", state)
    except Exception as e:
      shutil.rmtree(draft, ignore_errors=True)
      if number := _refused(e):
        raise _os_error(number, self.folder) from e
      raise

    def complete():
      manifest = {"step": step, "config": self.config.to_dict(), "leaves": _leaves(state), "files": _digests(draft)}
      (draft / _MANIFEST).write_text(json.dumps(manifest, indent=1))
      if final.exists():
        _set_aside(final)
      os.rename(draft, final)
      self._sweep()

    meshes.on_main(complete)
    return final

  def restore(self, like: PyTree, warn=print) -> tuple[int, State] | None:
    """(step, state) of the newest good checkpoint, or None where there is no checkpoint at all; every process calls it.

    Args:
      like: the state's shapes, dtypes and shardings, as jax.ShapeDtypeStruct.
      warn: is told of every checkpoint that cannot be used, and why.

    Raises:
      InputError: there are checkpoints and none is good; the processes see different ones.
    """
    reasons, tried = [], set()
    for other in sorted(self.folder.glob("[!.]*")):
      if other.name.isdecimal() and not _is_step(other.name) and meshes.is_main():
        warn(f"warning: {other} is no checkpoint: the name of one is its step")
    while (step := self._newest(tried)) is not None:
      tried.add(step)
      try:
        return step, self._read(step, like)
      except _Unusable as e:
        if not (self.folder / str(step)).exists():  # the run goes on: it has made a newer one, and deleted this one
          if len(tried) > _REPLACED:
            raise InputError(f"{self.folder}: replaced before they can be read: wait, or set train.keep higher") from e
          continue
        reasons.append(f"{step} ({e})")
        if meshes.is_main():
          warn(f"warning: checkpoint {self.folder / str(step)} cannot be used: {e}")
    if reasons:
      raise InputError(
        f"no checkpoint in {self.folder} can be used: {', '.join(reasons)}. "
        "Put a good copy back, or start afresh in another --workdir"
      )
    return None

  def _newest(self, tried: set[int]) -> int | None:
    """The newest step that was not tried, if there is one: in all processes the same."""
    step = max((step for step in self.steps() if step not in tried), default=-1)
    if meshes.agree(step) != -meshes.agree(-step):
      raise InputError(f"the processes see different checkpoints in {self.folder}: put --workdir where all share it")
    return step if step >= 0 else None

  def clear(self, step: int) -> None:
    """Makes room for what comes after `step`: sets aside what is unusable, deletes what an interruption left."""

    def clear():
      for bad in self.steps():
        if bad > step:
          _set_aside(self.folder / str(bad))
      self._sweep()

    meshes.on_main(clear)

  def _make_room(self) -> None:
    if not self.folder.parent.is_dir():  # made again, it would lack the run's other files
      raise InputError(f"{self.workdir} was deleted or moved: put it back, or start again")
    self.folder.mkdir(exist_ok=True)
    self._sweep()

  def _check_space(self, state: State) -> None:
    """Raises OSError where the disk is too full, before orbax's many threads find out one by one."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    short = meshes.is_main() and shutil.disk_usage(self.folder).free < size
    if meshes.agree(short):  # all processes fail, or none; and all wait here until the folder is clean
      raise _os_error(errno.ENOSPC, self.folder)

  def _sweep(self) -> None:
    """Deletes drafts, and the checkpoints beyond `keep`; renamed first, so that none with a number is half there."""
    for old in self.steps()[: -self.keep]:
      os.rename(self.folder / str(old), self.folder / f".{old}")
    for draft in self.folder.glob(".*"):
      if _is_step(draft.name[1:]) and draft.is_dir():  # and nothing that somebody else left
        shutil.rmtree(draft)

  def _read(self, step: int, like: PyTree) -> State:
    import orbax.checkpoint as ocp

    folder = self.folder / str(step)

    def read():
      try:
        with _quiet(), ocp.StandardCheckpointer() as checkpointer:
          return checkpointer.restore(folder / "state", like)
      except Exception as e:  # orbax raises whatever lies below it
        if out_of_memory(e):
          raise
        raise _Unusable(f"orbax cannot read it: {in_short(e)}") from e

    _alike(lambda: _verify(folder, self.config, like))
    return _alike(read)


def _alike(read: Callable[[], Any]) -> Any:
  """What `read` gives; where it fails in one process it does in all, so that no two go on from different steps."""
  out = error = None
  try:
    out = read()
  except Exception as e:
    error = e
  if meshes.agree(error is not None):
    raise error or _Unusable("another process cannot use it")
  return out


def _is_step(name: str) -> bool:
  """Whether a checkpoint may be called `name`: a number as it is written here, without zeros before it."""
  return name.isdecimal() and name == str(int(name))


def _write(path: pathlib.Path, state: State) -> None:
  import orbax.checkpoint as ocp

  with _quiet(), ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path, state)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps orbax from logging the traceback of each of its threads, when the error that it raises says it all."""
  logging.disable(logging.CRITICAL)
  try:
    yield
  except Exception:
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # futures that nobody awaits complain when collected
    raise
  finally:
    logging.disable(logging.NOTSET)


def _digests(folder: pathlib.Path) -> dict[str, list[Any]]:
  """{relative path: [bytes, sha256]} of every file below `folder`, but for the manifest."""
  out = {}
  for path in sorted(folder.rglob("*")):
    if path.is_file() and path.name != _MANIFEST:
      with path.open("rb") as f:
        out[str(path.relative_to(folder))] = [path.stat().st_size, hashlib.file_digest(f, "sha256").hexdigest()]
  return out


def _leaves(tree: PyTree) -> dict[str, str]:
  """{place: dtype and shape} of every array of a state."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _verify(folder: pathlib.Path, config: ml_collections.ConfigDict, like: PyTree) -> None:
  """Raises _Unusable where the files are not those that were written, or hold another state or another run."""
  try:
    manifest = json.loads((folder / _MANIFEST).read_text())
    step = manifest["step"]
    written, held, files = (dict(manifest[key].items()) for key in ("config", "leaves", "files"))
    files = {name: (size, digest) for name, (size, digest) in files.items()}
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    raise _Unusable(f"it has no readable {_MANIFEST}: not a checkpoint of this library") from None
  if not files:
    raise _Unusable(f"its {_MANIFEST} names no files")
  if str(step) != folder.name:
    raise _Unusable(f"it is the checkpoint of step {step}")
  differing = configs.differences(configs.filled(written), config.to_dict())
  if differing:
    raise _Unusable(f"it belongs to another run: {'; '.join(differing)}")
  wanted = _leaves(like)
  for place in sorted(held.keys() | wanted.keys()):
    if held.get(place) != wanted.get(place):
      what = f"{place} is {held.get(place, 'absent')} and should be {wanted.get(place, 'absent')}"
      raise _Unusable(f"{what}: the config is the same, so a run that it names or the program is not")
  try:
    present = _digests(folder)
  except OSError as e:
    raise _Unusable(f"it cannot be read: {e.strerror}") from None
  for name, (size, digest) in files.items():
    if name not in present:
      raise _Unusable(f"{name} is missing")
    if present[name][0] != size:
      raise _Unusable(f"{name} has {present[name][0]} bytes of {size}")
    if present[name][1] != digest:
      raise _Unusable(f"{name} is not what was written")


def _set_aside(path: pathlib.Path) -> None:
  number = 1
  while (target := path.with_name(f"{path.name}.unusable{number}")).exists():
    number += 1
  os.rename(path, target)


def _refused(error: Exception) -> int | None:
  """Why the file system takes no more, where that is what reached us through other libraries, in words."""
  reasons = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EIO)
  return next((number for number in reasons if os.strerror(number) in str(error)), None)


def _os_error(number: int, folder: pathlib.Path) -> OSError:
  return OSError(number, os.strerror(number), str(folder))


def abstract(state: PyTree, shardings: PyTree) -> PyTree:
  """The shapes of `state` with their places, as `Checkpoints.restore` takes them; `shardings` may be one for all."""
  places = jax.tree.broadcast(shardings, state)
  return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), state, places)
