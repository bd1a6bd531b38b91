"""Being asked to stop."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

_SOON = 0.01  # seconds until a signal that was dropped comes again


class Stopped(SystemExit):
  """A signal ended the run. The exit code is 128 + its number, as shells count: 143 for SIGTERM, 130 for SIGINT."""

  def __init__(self, number: int, message: str):
    super().__init__(128 + number)
    self.message = f"{signal.Signals(number).name}: {message}"


class Signals:
  """While entered, SIGTERM and SIGINT raise `Stopped`; inside `deferred`, they wait in `received` instead.

  A second SIGINT interrupts at once, whatever is going on.
  """

  def __init__(self):
    self.received = 0
    self._deferred = False
    self._previous: dict[int, Any] = {}
    self._unraisable = sys.unraisablehook  # what says that something was dropped

  def __enter__(self) -> "Signals":
    if threading.current_thread() is threading.main_thread():  # no other thread may handle signals
      self._previous = {n: signal.signal(n, self._handle) for n in (signal.SIGTERM, signal.SIGINT)}
      sys.unraisablehook = self._swallowed
    return self

  def __exit__(self, *_: Any) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)
    if self._previous:
      sys.unraisablehook = self._unraisable

  @contextlib.contextmanager
  def deferred(self) -> Iterator[None]:
    """For work that looks at `received` itself, when it has reached a point where it can stop."""
    self._deferred = True
    try:
      yield
    finally:
      self._deferred = False
    if self.received:  # after the last look at it
      raise Stopped(self.received, "the training is over; the same command goes on from there")

  def _handle(self, number: int, _: Any) -> None:
    self.received = number
    if number == signal.SIGINT:
      signal.signal(number, signal.default_int_handler)
    if not self._deferred:
      raise Stopped(number, "the same command goes on from the last checkpoint, where there is one")

  def _swallowed(self, unraisable: Any) -> None:
    """Has the signal come again where it was raised in what raises nothing: a destructor, or a callback of one."""
    if not isinstance(unraisable.exc_value, Stopped):
      self._unraisable(unraisable)
      return
    number = self.received
    signal.signal(number, self._handle)
    threading.Timer(_SOON, os.kill, (os.getpid(), number)).start()
