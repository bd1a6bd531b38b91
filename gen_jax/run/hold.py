"""One training in a folder at a time."""

import contextlib
import fcntl
import os
import pathlib
from types import TracebackType

from gen_jax.errors import InputError


class Hold:
  """Keeps other processes from training in `workdir`, from `take` to the end of the `with` block or of the process.

  It locks the directory itself, so that nothing is left behind, however a process ends.
  """

  def __init__(self, workdir: pathlib.Path):
    self._workdir, self._folder = workdir, None

  def __enter__(self) -> "Hold":
    return self

  def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
    if self._folder is not None:
      os.close(self._folder)

  def take(self) -> None:
    """Takes hold of the directory where there is one, and keeps it where it has it already.

    Raises:
      InputError: another process has it.
    """
    if self._folder is not None or not self._workdir.is_dir():
      return
    self._folder = os.open(self._workdir, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some network file systems have no locks
      try:
        fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        raise InputError(
          f"another process is training in {self._workdir}: wait for it, or use another --workdir"
        ) from None
