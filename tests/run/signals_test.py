"""A signal is never lost."""

import os
import signal

import pytest

from gen_jax.run.signals import Signals, Stopped


def test_one_that_nobody_looked_at_is_raised_at_the_end():
  with Signals() as signals:
    with pytest.raises(Stopped, match="143"), signals.deferred():
      os.kill(os.getpid(), signal.SIGTERM)
      assert signals.received == signal.SIGTERM
    signals.received = 0
    with pytest.raises(Stopped):
      os.kill(os.getpid(), signal.SIGTERM)


def test_deferred_work_keeps_its_own_error():
  with Signals() as signals, pytest.raises(KeyError), signals.deferred():
    os.kill(os.getpid(), signal.SIGTERM)
    raise KeyError
