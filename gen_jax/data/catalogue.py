"""Data sets that TensorFlow Datasets knows how to prepare, read from array_record without TensorFlow."""

import contextlib
import io
import os

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from gen_jax.data import decode
from gen_jax.data.base import Split
from gen_jax.data.builders import aside, readable
from gen_jax.errors import InputError, in_short, near


class Dataset:
  """One data set of the catalogue.

  Args:
    dataset: its name, perhaps with a config and a version: "mnist_corrupted/fog:1.0.0".
    data_dir: where prepared data sets are kept; None for TFDS's own choice.

  Raises:
    InputError: there is none of that name.
  """

  def __init__(self, dataset: str, data_dir: str | None):
    self._dataset = dataset
    with _explained(dataset):
      self._builder = tfds.builder(dataset, data_dir=data_dir, file_format="array_record")

  def feature(self, name: str) -> tfds.features.FeatureConnector:
    """One of its features.

    Raises:
      InputError: it has none of that name.
    """
    features = self._builder.info.features
    if name not in features:
      raise InputError(f"{self._dataset} has no feature {name!r}: {near(name, features)}")
    return features[name]

  def classes(self, name: str) -> int:
    """Number of classes of a feature.

    Raises:
      InputError: it is not a label.
    """
    label = self.feature(name)
    if not isinstance(label, tfds.features.ClassLabel):
      raise InputError(f"{name!r} of {self._dataset} is not a class label: set data.label to one, or to None")
    return label.num_classes

  def rows(self, split: str, image: str, label: str | None, shape: tuple[int, ...], manual_dir: str | None) -> Split:
    """Its rows, prepared first if need be.

    Args:
      split: TFDS's name for them, slices included.
      image: the feature that is the image.
      label: the feature that is the label, or None.
      shape: (height, width, channels) that every image is brought to.
      manual_dir: folder of files that TFDS cannot download by itself.

    Raises:
      InputError: they cannot be had, or need TensorFlow.
    """
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    encoded = isinstance(self.feature(image), tfds.features.Image)
    decoders = {image: tfds.decode.SkipDecoding()} if encoded else None
    with _explained(self._dataset):
      with aside():
        self._builder.download_and_prepare(download_config=config)
      if split.isidentifier() and split not in self._builder.info.splits:
        raise InputError(f"{self._dataset} has no split {split!r}: {near(split, self._builder.info.splits)}")
      rows = self._builder.as_data_source(split, decoders=decoders)
    return Records(rows, image, label, shape, self._builder.data_path)


class Records:
  """A split of a prepared data set.

  Args:
    rows: TFDS's data source; its images are arrays, or the bytes of image files.
    image: the feature that is the image.
    label: the feature that is the label, or None.
    shape: (height, width, channels) that every image is brought to.
    folder: where the records are.
  """

  def __init__(self, rows, image: str, label: str | None, shape: tuple[int, ...], folder: os.PathLike):
    self._rows, self._image, self._label, self._shape, self._folder = rows, image, label, shape, folder

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: np.ndarray) -> dict[str, np.ndarray]:
    with readable(self._folder):
      rows = self._rows.__getitems__(np.asarray(index).tolist())
    out = {"x": np.stack([self._fit(row[self._image]) for row in rows])}
    if self._label is not None:
      out["label"] = np.array([row[self._label] for row in rows], np.int32)
    return out

  def _fit(self, image: bytes | np.ndarray) -> np.ndarray:
    size, channels = self._shape[:2], self._shape[2]
    if isinstance(image, bytes):
      return decode.decode(io.BytesIO(image), size, channels)
    if image.shape == self._shape and image.dtype == np.uint8:
      return image
    return decode.fit(Image.fromarray(image[..., 0] if channels == 1 else image), size, channels)


@contextlib.contextmanager
def _explained(dataset: str):
  """Turns what TFDS raises into one line and its remedy."""
  try:
    yield
  except InputError:
    raise
  except tfds.core.registered.DatasetNotFoundError:
    names = tfds.list_builders(with_community_datasets=False)  # the others need TensorFlow to be listed
    raise InputError(f"TFDS has no data set {dataset!r}: {near(dataset, names)}") from None
  except ImportError as e:
    if "tensorflow" not in str(e).lower():
      raise
    raise InputError(f"preparing {dataset} needs TensorFlow: pip install gen_jax[tensorflow]") from None
  except NotImplementedError:
    remedy = "set data.data_dir to another folder to prepare it as array_record"
    raise InputError(f"{dataset} is there in a format that needs TensorFlow: {remedy}") from None
  except (OSError, ValueError, AssertionError, tfds.download.DownloadError) as e:
    raise InputError(f"cannot prepare {dataset}: {in_short(e)}") from None
