"""What to type next, so that it works where it is read."""

import os
import shutil
import sys


def launch(arguments: str) -> str:
  """The line that says to run launch.py with `arguments`, by the Python that runs now, which `python` may not be."""
  python = shutil.which("python")
  same = python is not None and os.path.abspath(python) == os.path.abspath(sys.executable)
  return f"next: {'python' if same else os.path.relpath(sys.executable)} launch.py {arguments}"
