"""Images of your own, in one folder per class."""

import collections
import dataclasses
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gen_jax.data import decode
from gen_jax.data.base import Arrays, Split, SplitName, pick
from gen_jax.data.images import Images
from gen_jax.errors import InputError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_IN_MEMORY = 2**30  # bytes of pixels; more are decoded when they are asked for
_LISTED = 10  # files named in one message


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFolder(Images):
  """PNG, JPEG or WebP files as path/{train,test}/<class>/<file>; hidden files are passed over.

  A set of up to 1 GiB of pixels is decoded when it is opened, so that any damaged file is found at once. Of a larger
  one the headers are read, and a file with a good header and a damaged rest is refused when its turn comes.

  Attributes:
    path: the folder.
    size: (height, width) to resize and crop to; None where all images have one size already.
    channels: 3 for RGB, 1 for grey; files of the other kind are converted.
  """

  path: str
  size: tuple[int, ...] | None = None
  channels: Literal[1, 3] = 3

  def __post_init__(self):
    if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
      raise InputError(f"size = {self.size}: give (height, width)")

  @functools.cached_property
  def shape(self) -> tuple[int, int, int]:
    """(height, width, channels), from the header of the first file where no size is given."""
    if self.size is not None:
      return (*self.size, self.channels)
    files, _ = self._files["train"]
    return (*_each(decode.measure, files[:1], self.path)[0], self.channels)

  @property
  def classes(self) -> int:
    """Number of class folders."""
    return len(self._names)

  def split(self, name: SplitName) -> Split:
    """Rows of one split, sorted by class and file name.

    Raises:
      InputError: files that cannot be read, or are of different sizes while none is asked for; ten of them are named.
    """
    return pick(self._splits, name)

  @functools.cached_property
  def _names(self) -> list[str]:
    """Names of the classes."""
    train = Path(self.path).expanduser() / "train"
    names = sorted(p.name for p in train.iterdir() if p.is_dir() and p.name[0] != ".") if train.is_dir() else []
    if not names:
      raise InputError(f"no class folders in {train}: data are laid out as {self.path}/{{train,test}}/<class>/<file>")
    return names

  @functools.cached_property
  def _files(self) -> dict[str, tuple[list[str], np.ndarray]]:
    """Files and labels of each split."""
    out = {}
    for name in ("train", "test"):
      folder = Path(self.path).expanduser() / name
      found = sorted(p for p in folder.glob("*/*") if p.name[0] != "." and p.parent.name[0] != ".")
      astray = sorted(p for p in folder.glob("[!.]*") if p.suffix.lower() in _SUFFIXES and p.is_file())
      _refuse([f"{p} (in no class folder)" for p in astray], self.path)
      if len(found) < 2:  # scores compare sets
        what = f"only {found[0]}" if found else "no images"
        raise InputError(f"{what} in {folder}: data are laid out as {self.path}/{{train,test}}/<class>/<file>")
      if name == "train" and (empty := set(self._names) - {p.parent.name for p in found}):
        raise InputError(f"{folder} has classes without an image: {', '.join(sorted(empty))}; remove or fill them")
      if unknown := {p.parent.name for p in found} - set(self._names):
        raise InputError(f"{folder} has classes that the training images lack: {', '.join(sorted(unknown))}")
      _refuse([f"{p} (not PNG, JPEG or WebP)" for p in found if p.suffix.lower() not in _SUFFIXES], self.path)
      labels = np.array([self._names.index(p.parent.name) for p in found], np.int32)
      out[name] = [str(p) for p in found], labels
    return out

  @functools.cached_property
  def _splits(self) -> dict[str, Split]:
    return {name: self._open(*columns) for name, columns in self._files.items()}

  def _open(self, files: list[str], labels: np.ndarray) -> Split:
    if self.size is None:
      self._check_sizes(files)
    split = Files(files, labels, self.shape, self.path)
    if len(files) * np.prod(self.shape) <= _IN_MEMORY:
      return Arrays(**split[np.arange(len(files))])
    if self.size is not None:
      _each(decode.measure, files, self.path)
    return split

  def _check_sizes(self, files: list[str]) -> None:
    sizes = _each(decode.measure, files, self.path)
    examples = {size: file for file, size in reversed(list(zip(files, sizes, strict=True)))}
    if set(sizes) != {self.shape[:2]}:
      counts = collections.Counter(sizes).most_common(3)
      some = "; ".join(f"{n} of {h}x{w} such as {examples[h, w]}" for (h, w), n in counts)
      raise InputError(f"images of different sizes ({some}): set data.size to (height, width)")


class Files:
  """A split that is decoded when it is asked for.

  Args:
    files: their paths.
    labels: the class of each.
    shape: (height, width, channels) that every image is brought to.
    path: the whole data set, for messages.
  """

  def __init__(self, files: list[str], labels: np.ndarray, shape: tuple[int, int, int], path: str):
    self._files, self._labels, self._shape, self._path = files, labels, shape, path

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, index: np.ndarray) -> dict[str, np.ndarray]:
    height, width, channels = self._shape
    read = lambda file: decode.decode(file, (height, width), channels)
    x = np.stack(_each(read, [self._files[i] for i in index], self._path))
    return {"x": x, "label": self._labels[index]}


def _each(read: Callable[[str], Any], files: list[str], path: str) -> list[Any]:
  """`read` of each file, in parallel; all that fail are reported together."""

  def attempt(file):
    try:
      return read(file), None
    except decode.ERRORS as e:
      return None, f"{file} ({_reason(e)})"

  with ThreadPoolExecutor() as pool:
    results = list(pool.map(attempt, files))
  _refuse([failure for _, failure in results if failure], path)
  return [value for value, _ in results]


def _reason(e: Exception) -> str:
  return "not an image" if "cannot identify" in str(e) else str(e)


def _refuse(failures: list[str], path: str) -> None:
  if failures:
    more = f" and {len(failures) - _LISTED} more" if len(failures) > _LISTED else ""
    listed = ", ".join(failures[:_LISTED]) + more
    raise InputError(f"{len(failures)} unreadable files in {path}: {listed}; repair or remove them")
