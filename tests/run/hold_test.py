"""One training in a folder at a time."""

import subprocess
import sys

import pytest

from gen_jax.errors import InputError
from gen_jax.run.hold import Hold

_OTHER = """
import pathlib, sys
from gen_jax.run.hold import Hold
with Hold(pathlib.Path(sys.argv[1])) as hold:
  hold.take()
  print("held", flush=True)
  sys.stdin.read()
"""


def test_a_folder_is_held_until_its_process_ends_however_it_ends(tmp_path):
  other = subprocess.Popen(
    [sys.executable, "-c", _OTHER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  )
  try:
    assert other.stdout.readline() == "held\n"
    with Hold(tmp_path) as hold, pytest.raises(InputError, match="another process is training in"):
      hold.take()
  finally:
    other.kill()
    other.wait()
    other.stdin.close()
    other.stdout.close()
  with Hold(tmp_path) as hold:
    hold.take()
    hold.take()  # it has it already
    with Hold(tmp_path) as second, pytest.raises(InputError, match="another --workdir"):
      second.take()
  with Hold(tmp_path) as again:
    again.take()
  assert not any(tmp_path.iterdir())


def test_what_does_not_exist_is_held_once_it_does(tmp_path):
  with Hold(tmp_path / "run") as hold:
    hold.take()
    (tmp_path / "run").mkdir()
    hold.take()
    with Hold(tmp_path / "run") as other, pytest.raises(InputError):
      other.take()
