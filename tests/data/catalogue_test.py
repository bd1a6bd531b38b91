"""Other sets of TFDS: a builder that is registered as the catalogue's own are, with images as files and as arrays."""

import io
import shutil

import numpy as np
import pytest
import tensorflow_datasets
from PIL import Image

from gen_jax.data.tfds import TFDS
from gen_jax.errors import InputError


class TinyPhotos(tensorflow_datasets.core.GeneratorBasedBuilder):
  """Image i is 10 + i high, 20 wide and of one grey, 10 i."""

  VERSION = tensorflow_datasets.core.Version("1.0.0")

  def _info(self):
    features = {
      "image": tensorflow_datasets.features.Image(shape=(None, None, 3)),
      "label": tensorflow_datasets.features.ClassLabel(num_classes=3),
      "text": tensorflow_datasets.features.Text(),
    }
    features = tensorflow_datasets.features.FeaturesDict(features)
    return tensorflow_datasets.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples(9), "test": self._generate_examples(4)}

  def image(self, i):
    file = io.BytesIO()
    Image.fromarray(np.full((10 + i, 20, 3), 10 * i, np.uint8)).save(file, "PNG")
    return io.BytesIO(file.getvalue())

  def _generate_examples(self, num):
    for i in range(num):
      yield i, {"image": self.image(i), "label": i % 3, "text": "text"}


class TinyArrays(TinyPhotos):
  """The same as arrays, which TFDS encodes with TensorFlow."""

  def image(self, i):
    return np.zeros((10, 20, 3), np.uint8)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp("tfds"))


def tiny(data_dir, **kwargs):
  return TFDS(**(dict(dataset="tiny_photos", size=(8, 6), data_dir=data_dir) | kwargs))


def test_rows(data_dir):
  source = tiny(data_dir)
  assert (source.spec.shape, source.spec.classes) == ((8, 6, 3), 3)
  split = source.split("train")
  assert len(split) == 9
  rows = split[np.array([8, 0, 2])]
  np.testing.assert_array_equal(
    rows["x"], np.array([80, 0, 20], np.uint8)[:, None, None, None] + np.zeros_like(rows["x"])
  )
  assert rows["label"].tolist() == [2, 0, 2]
  assert len(tiny(data_dir, train="train[:5]").split("train")) == 5
  unlabelled = tiny(data_dir, label=None)
  assert unlabelled.spec.classes == 0
  assert "label" not in unlabelled.split("test")[np.array([0])]


@pytest.mark.parametrize("harm", [lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:300])])
def test_damaged_records_are_named(tmp_path, harm):
  split = tiny(tmp_path).split("train")
  (file,) = tmp_path.glob("tiny_photos/*/*train.array_record*")
  harm(file)
  with pytest.raises(InputError, match=r"records in .*1\.0\.0 cannot be read .*: .*delete this folder"):
    split[np.array([0])]
  shutil.rmtree(file.parent)
  assert tiny(tmp_path).split("train")[np.array([3])]["label"] == [0]


def test_where_tensorflow_is_needed_the_error_names_the_extra(data_dir):
  with pytest.raises(InputError, match=r"pip install gen_jax\[tensorflow\]"):
    tiny(data_dir, dataset="tiny_arrays").split("train")


@pytest.mark.parametrize(
  "wrong, says",
  [
    (dict(dataset="oxford_flowrs102"), "did you mean 'oxford_flowers102'"),
    (dict(dataset="no spaces"), "cannot prepare no spaces"),
    (dict(label="lable"), "has no feature 'lable': did you mean 'label'"),
    (dict(label="text"), "not a class label"),
    (dict(image="img"), "has no feature 'img'"),
    (dict(test="tests"), "has no split 'tests': did you mean 'test'"),
    (dict(test="test[:3"), "cannot prepare tiny_photos"),
    (dict(size=None), r"set data\.size"),
  ],
)
def test_mistakes(data_dir, wrong, says):
  with pytest.raises(InputError, match=says):
    source = tiny(data_dir, **wrong)
    print(source.spec, source.split("test"))
