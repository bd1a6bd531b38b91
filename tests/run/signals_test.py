"""A signal is never lost."""

import os
import signal
import subprocess
import sys
import time

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_comes_where_nothing_can_be_raised_comes_again(number, capsys):
  class Falls:
    def __del__(self):
      os.kill(os.getpid(), number)

  with Signals(), pytest.raises(Stopped, match=str(128 + number)):
    Falls()
    time.sleep(10)
  assert capsys.readouterr().err == ""


RUNNING = """
import jax, jax.numpy as jnp
from gen_jax.run import command

forever = jax.jit(lambda x: jax.lax.while_loop(lambda x: x.sum() > -1.0, lambda x: jnp.tanh(x @ x), x))
forever(jnp.eye(64))  # dispatched, and never done
print("left", end="")
command.leave(143)
"""


def test_it_leaves_though_a_program_runs():
  """What was printed is there; otherwise Python would wait for the program, or take from under it what it uses."""
  done = subprocess.run([sys.executable, "-c", RUNNING], capture_output=True, text=True, timeout=120)
  assert (done.returncode, done.stdout, done.stderr) == (143, "left", "")
