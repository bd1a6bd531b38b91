"""The TFDS builder of this project: writes and reads array_record files, and needs no TensorFlow.

TFDS's own builders of the same data sets open their files with TensorFlow and encode images with it; its extraction
cache knows a local file by its bare name, so that MNIST and Fashion-MNIST, whose files are called the same, can swap.
Here the files are parsed outside of TFDS, and images are stored as plain bytes.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from gen_jax.errors import InputError
from gen_jax.types import Spec


@contextlib.contextmanager
def readable(folder: os.PathLike) -> Iterator[None]:
  """Within it, records are read from `folder`.

  Raises:
    InputError: they cannot be read.
  """
  try:
    yield
  except RuntimeError as e:
    if type(e) is not RuntimeError:  # which is array_record's, whatever is wrong
      raise
    what, remedy = str(e).partition(";")[0], "where it is damaged, delete this folder, and it is made again"
    raise InputError(f"the records in {folder} cannot be read ({what}): {remedy}") from None


@contextlib.contextmanager
def aside() -> Iterator[None]:
  """Within it, what TFDS says goes to stderr, and without bars where that is no terminal."""
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  with contextlib.redirect_stdout(sys.stderr):
    yield


class Rows(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Labelled images of one shape, in the order that they are given in.

  Args:
    name: name of the data set, and of the folder that it is prepared in.
    spec: what one example is.
    splits: the columns "x" uint8 [N, H, W, C] and "label" int32 [N] of each split.
    data_dir: where prepared data sets live.
  """

  VERSION = tfds.core.Version("1.0.0")

  def __init__(self, *, name: str, spec: Spec, splits: Mapping[str, Mapping[str, np.ndarray]], data_dir: Path):
    self.name, self._spec, self._splits = name, spec, splits
    super().__init__(data_dir=data_dir, file_format="array_record")  # the default, tfrecord, needs TensorFlow

  def _info(self) -> tfds.core.DatasetInfo:
    image = tfds.features.Tensor(shape=self._spec.shape, dtype=np.uint8, encoding="bytes")
    label = tfds.features.ClassLabel(num_classes=self._spec.classes)
    features = tfds.features.FeaturesDict({"image": image, "label": label})
    return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

  def _split_generators(self, dl_manager):
    del dl_manager
    return {split: self._generate_examples(split) for split in self._splits}

  def _generate_examples(self, split: str):
    columns = self._splits[split]
    for i, (x, label) in enumerate(zip(columns["x"], columns["label"], strict=True)):
      yield i, {"image": x, "label": int(label)}

  def columns(self, split: str) -> dict[str, np.ndarray]:
    """The columns of a split, as they were prepared."""
    rows = self.as_data_source(split)
    with readable(self.data_path):
      rows = rows.__getitems__(range(len(rows)))
    x = np.stack([row["image"] for row in rows])
    return {"x": x, "label": np.array([row["label"] for row in rows], np.int32)}
