"""Errors that are part of the interface: one clear line with its remedy."""

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

_OUT_OF_MEMORY = re.compile("out of memory|RESOURCE_EXHAUSTED", re.IGNORECASE)  # as XLA says it


class InputError(ValueError):
  """Bad input from the person at the keyboard. `launch.py` prints it as one line and exits with code 2."""


@contextlib.contextmanager
def one_line(place: str) -> Iterator[None]:
  """Makes one line of what goes wrong inside: in a config file, or where what it describes is first traced.

  Fields that do not fit each other or the data can fail there in any way.

  Raises:
    InputError: `place`, and what was raised inside, in short; what is out of memory stays that.
  """
  try:
    yield
  except InputError:
    raise
  except Exception as e:
    if out_of_memory(e):
      raise
    raise InputError(f"{place}: {in_short(e)} (--traceback shows where)") from e


def out_of_memory(error: Exception) -> bool:
  """Whether the memory of the host or of a device is too small."""
  return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error))))


def in_short(error: Exception) -> str:
  """The kind of an error, and the first line of what it says."""
  return ": ".join([type(error).__name__, *[line.strip() for line in str(error).splitlines() if line.strip()][:1]])


def require(**fields: tuple[Any, bool, str]) -> None:
  """Raises InputError for the first of `fields`, name=(value, whether it is right, what it should be), not right."""
  for name, (value, right, what) in fields.items():
    if not right:
      raise InputError(f"{name} = {value} should be {what}")


def at_least(least: float, place: str = "", /, **fields: float) -> None:
  """Raises InputError for the first of `fields`, name=value, that is less than `least`; its name follows `place`."""
  require(**{place + name: (value, value >= least, f"at least {least}") for name, value in fields.items()})


def check_seed(place: str, seed: int) -> None:
  """Raises InputError where `seed` is none that every generator takes."""
  if not 0 <= seed < 2**32:
    raise InputError(f"{place} = {seed} should be from 0 to {2**32 - 1}")


def _last(name: str) -> str:
  """The part after the file, whatever the case."""
  return str(name).rpartition(".")[2].lower()


def near(name: str, options: Iterable[str]) -> str:
  """The end of a sentence about an unknown name: the near miss, or what there is to choose from."""
  options = sorted(options)
  close = difflib.get_close_matches(str(name), options, n=1, cutoff=0.5)
  close = close or [option for option in options if _last(option) == _last(name)]
  if close:
    return f"did you mean {close[0]!r}?"
  return f"choose from {', '.join(options)}" if options else "there is nothing to choose from"
