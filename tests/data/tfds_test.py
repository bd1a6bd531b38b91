"""The five data sets from small files of the original formats, written here byte by byte; and MNIST itself."""

import gzip
import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile

import jax
import numpy as np
import pytest

from gen_jax.data import idx, tfds
from gen_jax.data.images import to_uint8
from gen_jax.errors import InputError

FOUR_FILES = [tfds.MNIST, tfds.FashionMNIST, tfds.KMNIST]
NUM = {"train": 7, "test": 5}


def idx_gz(array):
  codes = {"uint8": 8, "int16": 11, "int32": 12, "float32": 13}
  head = bytes([0, 0, codes[array.dtype.name], array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
  return gzip.compress(head + array.astype(array.dtype.newbyteorder(">")).tobytes())


def rows(split, seed=0, shape=(28, 28), classes=10):
  rng = np.random.default_rng((seed, len(split)))
  x = rng.integers(0, 256, (NUM[split], *shape), dtype=np.uint8)
  return x, rng.integers(0, classes, NUM[split], dtype=np.uint8)


def write_four_files(folder, seed=0):
  for split, prefix in (("train", "train"), ("test", "t10k")):
    x, label = rows(split, seed)
    (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx_gz(x))
    (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx_gz(label))


def write_emnist(folder):
  with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
    for split in NUM:
      x, label = rows(split, classes=26)
      archive.writestr(f"gzip/emnist-letters-{split}-images-idx3-ubyte.gz", idx_gz(x.transpose(0, 2, 1).copy()))
      archive.writestr(f"gzip/emnist-letters-{split}-labels-idx1-ubyte.gz", idx_gz((label + 1).astype(np.uint8)))


def write_cifar(folder):
  with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as archive:
    x, label = rows("train", shape=(32, 32, 3))
    parts = {f"data_batch_{i + 1}": slice(*ends) for i, ends in enumerate([(0, 1), (1, 2), (2, 3), (3, 4), (4, 7)])}
    files = {name: (x[part], label[part]) for name, part in parts.items()}
    files["test_batch"] = rows("test", shape=(32, 32, 3))
    for name, (x, label) in files.items():
      planes = lambda image: b"".join(image[..., c].tobytes() for c in range(3))
      data = b"".join(bytes([y]) + planes(image) for image, y in zip(x, label, strict=True))
      info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))


CASES = [(kind, write_four_files, {}) for kind in FOUR_FILES]
CASES += [(tfds.EMNISTLetters, write_emnist, {"classes": 26}), (tfds.CIFAR10, write_cifar, {"shape": (32, 32, 3)})]


@pytest.mark.parametrize("kind, write, like", CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_rows_are_those_of_the_original_files(kind, write, like, tmp_path):
  (tmp_path / "files").mkdir()
  write(tmp_path / "files")
  for _ in range(2):  # prepared, then from what was prepared
    source = kind(manual_dir=str(tmp_path / "files"), data_dir=str(tmp_path / "prepared"))
    for name in NUM:
      x, label = rows(name, **like)
      split = source.split(name)
      ours = split[np.arange(len(split))]
      np.testing.assert_array_equal(ours["x"], x.reshape(-1, *source.spec.shape))
      np.testing.assert_array_equal(ours["label"], label)
      assert ours["label"].dtype == np.int32
  assert list((tmp_path / "prepared").rglob("*.array_record-*"))
  batch = source.prepare(jax.random.key(0), ours, False)
  np.testing.assert_array_equal(to_uint8(np.asarray(batch["x"])), ours["x"])


def test_sets_with_files_of_the_same_names_never_swap(tmp_path):
  """Same names, same data_dir, both orders of preparation: every set keeps its own pixels."""
  for seed, kind in enumerate(FOUR_FILES):
    (tmp_path / kind.__name__).mkdir()
    write_four_files(tmp_path / kind.__name__, seed)
  for _ in range(2):
    for seed, kind in enumerate(FOUR_FILES):
      source = kind(manual_dir=str(tmp_path / kind.__name__), data_dir=str(tmp_path / "prepared"))
      np.testing.assert_array_equal(source.split("train").columns["x"][..., 0], rows("train", seed)[0])


def test_new_files_in_the_same_folder_are_prepared_anew(tmp_path):
  for seed in (0, 1, 0):
    write_four_files(tmp_path, seed)
    source = tfds.MNIST(manual_dir=str(tmp_path), data_dir=str(tmp_path / "prepared"))
    np.testing.assert_array_equal(source.split("test").columns["x"][..., 0], rows("test", seed)[0])


def refuse(folder, *parts, kind=tfds.MNIST):
  with pytest.raises(InputError) as e:
    kind(manual_dir=str(folder), data_dir=str(folder / "prepared")).split("train")
  assert "\n" not in str(e.value)
  for part in parts:
    assert part in str(e.value)
  return str(e.value)


def test_missing_files_are_named(tmp_path):
  write_four_files(tmp_path)
  (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
  (tmp_path / "train-images-idx3-ubyte.gz").unlink()
  message = refuse(tmp_path, "t10k-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz", "put the original files there")
  assert "t10k-images" not in message


@pytest.mark.parametrize(
  "damage, says",
  [
    (lambda data: data[: len(data) // 2], "is damaged"),
    (lambda data: b"not a gz file", "is damaged"),
    (lambda data: data[:50] + bytes([data[50] ^ 255]) + data[51:], "is damaged"),
    (lambda data: gzip.compress(gzip.decompress(data)[:-1]), "not what its header says"),
    (lambda data: gzip.compress(gzip.decompress(data) + b"x"), "not what its header says"),
    (lambda data: gzip.compress(gzip.decompress(data)[:9]), "not what its header says"),
    (lambda data: gzip.compress(b"\x01" + gzip.decompress(data)), "is not an IDX file"),
    (lambda data: gzip.compress(b""), "is not an IDX file"),
  ],
)
def test_damaged_files_are_named_and_leave_nothing_behind(damage, says, tmp_path):
  write_four_files(tmp_path)
  path = tmp_path / "train-images-idx3-ubyte.gz"
  good = path.read_bytes()
  path.write_bytes(damage(good))
  refuse(tmp_path, str(path), says)
  path.write_bytes(good)
  assert len(tfds.MNIST(manual_dir=str(tmp_path), data_dir=str(tmp_path / "prepared")).split("train")) == NUM["train"]


def test_files_of_another_shape_are_refused(tmp_path):
  write_four_files(tmp_path)
  (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(idx_gz(np.zeros((7, 14, 14), np.uint8)))
  refuse(tmp_path, "not those of MNIST")


def test_labels_out_of_range_are_refused(tmp_path):
  write_four_files(tmp_path)
  (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(idx_gz(np.full(7, 10, np.uint8)))
  refuse(tmp_path, "not those of MNIST")


@pytest.mark.parametrize("kind, write", [(tfds.EMNISTLetters, write_emnist), (tfds.CIFAR10, write_cifar)])
def test_damaged_archives_are_named(kind, write, tmp_path):
  write(tmp_path)
  path = tmp_path / next(iter(kind.files))
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  refuse(tmp_path, str(path), "is damaged", "get it again", kind=kind)


def test_a_data_dir_that_cannot_be_made_is_named(tmp_path):
  write_four_files(tmp_path)
  (tmp_path / "prepared").write_text("a file, not a folder")
  refuse(tmp_path, "cannot write to", "data.data_dir")


def test_a_damaged_copy_is_named_and_made_again_once_deleted(tmp_path):
  write_four_files(tmp_path)
  open_again = lambda: tfds.MNIST(manual_dir=str(tmp_path), data_dir=str(tmp_path / "prepared")).split("train")
  open_again()
  (copy,) = tmp_path.glob("prepared/mnist_*/train.npz")
  copy.write_bytes(copy.read_bytes()[:3000])
  refuse(tmp_path, str(copy), "delete it")
  copy.unlink()
  np.testing.assert_array_equal(open_again().columns["label"], rows("train")[1])


def test_damaged_records_are_named(tmp_path):
  write_four_files(tmp_path)
  tfds.MNIST(manual_dir=str(tmp_path), data_dir=str(tmp_path / "prepared")).split("train")
  (copy,) = tmp_path.glob("prepared/mnist_*/train.npz")
  copy.unlink()  # so that it is made again from the records
  (records,) = tmp_path.glob("prepared/mnist_*/*/*train.array_record*")
  records.write_bytes(records.read_bytes()[:200])
  refuse(tmp_path, str(records.parent), "delete this folder")
  shutil.rmtree(records.parent)
  source = tfds.MNIST(manual_dir=str(tmp_path), data_dir=str(tmp_path / "prepared"))
  np.testing.assert_array_equal(source.split("train").columns["label"], rows("train")[1])


def test_files_are_downloaded_where_none_are_given(tmp_path, monkeypatch):
  (tmp_path / "site").mkdir()
  write_four_files(tmp_path / "site")
  files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "site").iterdir()}
  monkeypatch.setattr(tfds.KMNIST, "url", (tmp_path / "site").as_uri() + "/")
  monkeypatch.setattr(tfds.KMNIST, "files", files)
  for _ in range(2):
    train = tfds.KMNIST(data_dir=str(tmp_path / "prepared")).split("train")
    np.testing.assert_array_equal(train.columns["x"][..., 0], rows("train")[0])
    shutil.rmtree(tmp_path / "site", ignore_errors=True)  # not needed a second time


def test_idx_values_come_out_right_whatever_their_type():
  for dtype in ("uint8", "int16", "int32", "float32"):
    array = np.arange(300).reshape(3, 100).astype(dtype)
    np.testing.assert_array_equal(idx.parse(idx_gz(array), "here"), array)


def test_nothing_imports_tensorflow(tmp_path):
  """Nor TFDS, once the data are prepared; nor JAX's backend, for a spec."""
  write_four_files(tmp_path)
  code = f"""
import sys
from gen_jax.data.tfds import MNIST
source = MNIST(manual_dir={str(tmp_path)!r}, data_dir={str(tmp_path / "prepared")!r})
assert source.spec.shape == (28, 28, 1)
assert len(source.split("train")) == 7
assert "tensorflow" not in sys.modules
print("tensorflow_datasets" in sys.modules)
import jax
assert not jax._src.xla_bridge.backends_are_initialized()
"""
  env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
  run = lambda: subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
  first, second = run(), run()
  assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
  assert first.stdout.splitlines()[-1] == "True"
  assert second.stdout.splitlines()[-1] == "False"
  assert "preparing" not in first.stdout and "\r" not in first.stderr, "bars, where nobody looks"


@pytest.fixture(scope="module")
def mnist_files(real_data):
  folder = real_data / "mnist"
  if not folder.is_dir():
    pytest.skip(f"no {folder}: put the four files of MNIST there")
  return folder


def test_mnist(mnist_files, tmp_path):
  source = tfds.MNIST(manual_dir=str(mnist_files), data_dir=str(tmp_path))
  train, test = source.split("train").columns, source.split("test").columns
  assert train["x"].shape == (60_000, 28, 28, 1)
  assert np.bincount(train["label"]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
  assert np.bincount(test["label"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
  assert abs(train["x"].mean() / 255 - 0.1307) < 1e-4  # the mean that everybody normalises by
  theirs = gzip.decompress((mnist_files / "train-images-idx3-ubyte.gz").read_bytes())[16:]
  assert train["x"].tobytes() == theirs
  assert list(tmp_path.glob("mnist_*/1.0.0/*.array_record-*"))


def test_splits_never_swap(mnist_files, tmp_path):
  """A file of MNIST under the name of another of them."""
  shutil.copytree(mnist_files, tmp_path, dirs_exist_ok=True)
  train, test = (tmp_path / f"{prefix}-images-idx3-ubyte.gz" for prefix in ("train", "t10k"))
  shutil.copy(test, train)
  refuse(tmp_path, f"{train} is {test.name} under another name")


def test_a_file_that_is_there_twice_is_refused(tmp_path, capsys):
  write_four_files(tmp_path)
  train, test = (tmp_path / f"{prefix}-images-idx3-ubyte.gz" for prefix in ("train", "t10k"))
  tfds.MNIST(manual_dir=str(tmp_path), data_dir=str(tmp_path / "prepared")).split("train")
  assert f"{train.name}" in (note := capsys.readouterr().out) and "are not as MNIST was published" in note
  shutil.copy(test, train)
  refuse(tmp_path, "are the same")


@pytest.mark.parametrize("kind", [tfds.FashionMNIST, tfds.KMNIST])
def test_the_files_of_mnist_are_not_taken_for_another_set(kind, mnist_files, tmp_path):
  with pytest.raises(InputError, match="has files of MNIST"):
    kind(manual_dir=str(mnist_files), data_dir=str(tmp_path)).split("train")
