"""MNIST and its relatives, CIFAR-10, and other image sets, through TensorFlow Datasets but without TensorFlow.

The original files of the sets that have a class here are downloaded, or found in `manual_dir`, parsed, and prepared as
array_record by the builder in `builders`. What is prepared is filed under a digest of the original files, so that no
two sets can be taken for each other, whatever their files are called. Beside the records lies one npz per split, which
opens in a tenth of a second.
"""

import abc
import dataclasses
import fcntl
import functools
import hashlib
import os
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from gen_jax.data import idx
from gen_jax.data.base import Arrays, Split, SplitName, pick
from gen_jax.data.download import digest, fetch
from gen_jax.data.images import Images
from gen_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared(Images, abc.ABC):
  """Base of sources that are parsed from their original files once.

  Attributes:
    manual_dir: folder that has the original files, for machines without a network; None downloads them.
    data_dir: where prepared data sets are kept; None is $TFDS_DATA_DIR, or ~/tensorflow_datasets.
  """

  manual_dir: str | None = None
  data_dir: str | None = None

  url: ClassVar[str]  # of the folder that has the original files
  files: ClassVar[Mapping[str, str]]  # their names, and the SHA-256 of each

  @abc.abstractmethod
  def read(self, split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, H, W, C] and labels [N] of one split, from the original files in `folder`."""

  def split(self, name: SplitName) -> Split:
    """Rows of one split, in the order of the original files.

    Raises:
      InputError: a file is missing, damaged, or belongs to another data set; the message says which and what to do.
    """
    return pick(self._splits, name)

  @functools.cached_property
  def _splits(self) -> dict[str, Split]:
    root = Path(self.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    digests = self.files if self.manual_dir is None else self._inspect()
    contents = hashlib.sha256(" ".join(digests.values()).encode()).hexdigest()
    name = f"{type(self).__name__.lower()}_{contents[:12]}"
    caches = {split: root / name / f"{split}.npz" for split in ("train", "test")}
    if not _exist(caches):
      self._prepare(root, name, caches)
    return {split: Arrays(**_load(path)) for split, path in caches.items()}

  def _inspect(self) -> dict[str, str]:
    """The SHA-256 of each file in `manual_dir`, where none is missing, there twice, or known to be another one."""
    folder = Path(self.manual_dir).expanduser()
    missing = [file for file in self.files if not (folder / file).is_file()]
    if missing:
      raise InputError(f"manual_dir = {folder} lacks {', '.join(missing)}: put the original files there")
    digests = {file: digest(folder / file) for file in self.files}
    known = {sha256: (kind, file) for kind in Prepared.__subclasses__() for file, sha256 in kind.files.items()}
    for file, sha256 in digests.items():
      kind, name = known.get(sha256, (type(self), file))
      if kind is not type(self):
        raise InputError(f"manual_dir = {folder} has files of {kind.__name__}: give each data set a folder of its own")
      if name != file:
        raise InputError(f"{folder / file} is {name} under another name: get the originals")
    if len(set(digests.values())) < len(digests):
      raise InputError(f"two of {', '.join(digests)} in {folder} are the same: get the originals")
    if others := [file for file, sha256 in digests.items() if sha256 != self.files[file]]:
      print(f"note: in {folder}, {', '.join(others)} are not as {type(self).__name__} was published")
    return digests

  def _prepare(self, root: Path, name: str, caches: Mapping[str, Path]) -> None:
    """Writes the records and the caches of both splits; one process at a time."""
    from gen_jax.data.builders import Rows, aside  # imports TFDS: half a second, and only needed here

    try:
      root.mkdir(parents=True, exist_ok=True)
      with (root / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _exist(caches):
          return  # another process did it while this one waited
        columns = {split: self._parse(split, root / "downloads" / name) for split in caches}
        rows = Rows(name=name, spec=self.spec, splits=columns, data_dir=root)
        with aside():
          rows.download_and_prepare()
        for split, path in caches.items():
          part = path.with_suffix(".part")
          with part.open("wb") as f:
            np.savez(f, **rows.columns(split))
          part.replace(path)
    except OSError as e:
      raise InputError(f"cannot write to {root} ({e}): make room there, or set data.data_dir") from None

  def _parse(self, split: str, downloads: Path) -> dict[str, np.ndarray]:
    """The columns of a split from the original files, wherever they are, checked."""
    folder = downloads if self.manual_dir is None else Path(self.manual_dir).expanduser()
    if self.manual_dir is None:
      for file, sha256 in self.files.items():
        fetch(self.url + file, sha256, downloads)
    x, label = self.read(split, folder)
    fits = x.dtype == np.uint8 and x.shape == (len(label), *self.shape)
    if not fits or not len(label) or label.min() < 0 or label.max() >= self.classes:
      raise InputError(f"the files in {folder} are not those of {type(self).__name__}: get the originals")
    return {"x": x, "label": label.astype(np.int32)}


def _read_idx(self: Prepared, split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
  """Two of the four files that MNIST and its drop-in replacements consist of."""
  prefix = {"train": "train", "test": "t10k"}[split]
  paths = [folder / f"{prefix}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
  x, label = (idx.read(path) for path in paths)
  return x[..., None], label


@dataclasses.dataclass(frozen=True, kw_only=True)
class MNIST(Prepared):
  """Handwritten digits, 28x28x1, 60,000 + 10,000 (LeCun et al., 1998)."""

  shape = (28, 28, 1)
  classes = 10
  url = "https://storage.googleapis.com/cvdf-datasets/mnist/"
  files = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
  }
  read = _read_idx


@dataclasses.dataclass(frozen=True, kw_only=True)
class FashionMNIST(Prepared):
  """Articles of clothing, 28x28x1, 60,000 + 10,000 (arXiv 1708.07747)."""

  shape = (28, 28, 1)
  classes = 10
  url = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
  files = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
  }
  read = _read_idx


@dataclasses.dataclass(frozen=True, kw_only=True)
class KMNIST(Prepared):
  """Cursive Japanese characters, 28x28x1, ten classes, 60,000 + 10,000 (arXiv 1812.01718)."""

  shape = (28, 28, 1)
  classes = 10
  url = "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"
  files = {
    "train-images-idx3-ubyte.gz": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
    "train-labels-idx1-ubyte.gz": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
    "t10k-images-idx3-ubyte.gz": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
    "t10k-labels-idx1-ubyte.gz": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
  }
  read = _read_idx


@dataclasses.dataclass(frozen=True, kw_only=True)
class EMNISTLetters(Prepared):
  """Handwritten letters, upper and lower case as one, 28x28x1, 26 classes (arXiv 1702.05373)."""

  shape = (28, 28, 1)
  classes = 26
  url = "https://biometrics.nist.gov/cs_links/EMNIST/"
  files = {"gzip.zip": "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"}

  def read(self, split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images are stored transposed, and letters counted from 1."""
    path = folder / "gzip.zip"
    try:
      with zipfile.ZipFile(path) as archive:
        members = [f"gzip/emnist-letters-{split}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
        x, label = (idx.parse(archive.read(m), f"{path}: {m}") for m in members)
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, zlib.error) as e:
      raise InputError(f"{path} is damaged ({e}): delete it and get it again") from None
    return x.swapaxes(1, 2)[..., None], label.astype(np.int32) - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class CIFAR10(Prepared):
  """Photographs of ten kinds of thing, 32x32x3, 50,000 + 10,000 (Krizhevsky, 2009)."""

  shape = (32, 32, 3)
  classes = 10
  url = "https://www.cs.toronto.edu/~kriz/"
  files = {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"}

  def read(self, split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The binary version: records of one byte of label and 3072 of image, channel by channel."""
    path = folder / "cifar-10-binary.tar.gz"
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
    try:
      with tarfile.open(path) as archive:
        data = b"".join(archive.extractfile(f"cifar-10-batches-bin/{name}").read() for name in names)
    except (tarfile.TarError, KeyError, OSError, EOFError, zlib.error) as e:
      raise InputError(f"{path} is damaged ({e}): delete it and get it again") from None
    if len(data) % 3073:
      raise InputError(f"{path} is damaged ({len(data)} bytes of {split} records): delete it and get it again")
    records = np.frombuffer(data, np.uint8).reshape(-1, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TFDS(Images):
  """Any image set in the catalogue of TensorFlow Datasets, prepared as array_record.

  Attributes:
    dataset: its name there, such as "oxford_flowers102" or "mnist_corrupted/fog".
    image: the feature that is the image.
    label: the feature that is the label; None for no labels.
    train: TFDS's name of the rows to train on; slices such as "train[:90%]" work.
    test: the same of the rows to test on.
    size: (height, width) to resize and crop to; None where all images have one size already.
    manual_dir: folder of files that TFDS cannot download by itself.
    data_dir: where prepared data sets are kept; None is $TFDS_DATA_DIR, or ~/tensorflow_datasets.
  """

  dataset: str
  image: str = "image"
  label: str | None = "label"
  train: str = "train"
  test: str = "test"
  size: tuple[int, ...] | None = None
  manual_dir: str | None = None
  data_dir: str | None = None

  @functools.cached_property
  def shape(self) -> tuple[int, ...]:
    """(height, width, channels), from the description of the data set.

    Raises:
      InputError: unknown data set or feature, or images of several sizes while none is asked for.
    """
    shape = self._catalogued.feature(self.image).shape
    if self.size is not None:
      shape = (*self.size, *shape[2:])
    if len(shape) != 3 or None in shape:
      raise InputError(f"{self.image!r} of {self.dataset} has shape {shape}: set data.size to (height, width)")
    return shape

  @functools.cached_property
  def classes(self) -> int:
    """Number of classes; 0 without labels."""
    return 0 if self.label is None else self._catalogued.classes(self.label)

  def split(self, name: SplitName) -> Split:
    """Rows of one split, read as they are asked for.

    Raises:
      InputError: the data set cannot be had, or needs TensorFlow.
    """
    split = pick({"train": self.train, "test": self.test}, name)
    return self._catalogued.rows(split, self.image, self.label, self.shape, self.manual_dir)

  @functools.cached_property
  def _catalogued(self):
    from gen_jax.data.catalogue import Dataset  # imports TFDS

    return Dataset(self.dataset, self.data_dir)


def _exist(caches: Mapping[str, Path]) -> bool:
  return all(path.exists() for path in caches.values())


def _load(path: Path) -> dict[str, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as file:
      return dict(file)
  except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as e:
    raise InputError(f"{path} is damaged ({e}): delete it, and it is made again") from None
