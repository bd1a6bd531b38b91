"""Files from the web, checked."""

import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
from pathlib import Path

from gen_jax.errors import InputError

_TIMEOUT = 30  # seconds without a byte


def fetch(url: str, sha256: str, folder: Path) -> Path:
  """The file at `url`, kept in `folder` under its own name; nothing is downloaded if it is there already.

  Raises:
    InputError: it cannot be had, or is not the file that `sha256` describes.
  """
  target = folder / url.rpartition("/")[2]
  if target.exists():
    return target  # it was checked before it got this name
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
    try:
      with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
        shutil.copyfileobj(response, part)
        size = response.headers.get("Content-Length", part.tell())
      if part.tell() != int(size):
        raise OSError(f"{part.tell()} bytes of {size} came")
      part.flush()
      if digest(Path(part.name)) != sha256:
        raise InputError(f"{url} is not the file it used to be: get it elsewhere and set data.manual_dir")
      os.replace(part.name, target)
    except (OSError, http.client.HTTPException) as e:
      remedy = f"give the command again, or put {target.name} in a folder and set data.manual_dir to it"
      raise InputError(f"could not download {url} ({e}): {remedy}") from None
    finally:
      Path(part.name).unlink(missing_ok=True)
  return target


def digest(path: Path) -> str:
  """SHA-256 of a file."""
  with path.open("rb") as f:
    return hashlib.file_digest(f, "sha256").hexdigest()
