"""The next command names a Python that has the package."""

import os
import shutil
import sys

from gen_jax.run import hint


def test_python_is_named_as_it_can_be_called(monkeypatch):
  monkeypatch.setattr(shutil, "which", lambda name: sys.executable)
  assert hint.launch("--mode=eval") == "next: python launch.py --mode=eval"
  for other in (None, "/somewhere/else/python"):
    monkeypatch.setattr(shutil, "which", lambda name, other=other: other)
    assert hint.launch("--mode=eval") == f"next: {os.path.relpath(sys.executable)} launch.py --mode=eval"
