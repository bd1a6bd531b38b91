import io
import shutil

import numpy as np
import pytest
from PIL import Image, ImageFile

from gen_jax.data import decode, image_folder
from gen_jax.data.image_folder import ImageFolder
from gen_jax.errors import InputError


def write(folder, sizes=((6, 8),), mode="RGB", suffixes=(".png",), num=3):
  """Random images of two classes, in lossless files; gives them in the order that they should come back in."""
  rng = np.random.default_rng(0)
  out = {}
  for split in ("train", "test"):
    out[split] = []
    for kind in ("cat", "dog"):
      (folder / split / kind).mkdir(parents=True)
      for i in range(num):
        shape = sizes[i % len(sizes)] + ((3,) if mode == "RGB" else ())
        x = rng.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(x).save(folder / split / kind / f"{i}{suffixes[i % len(suffixes)]}", lossless=True)
        out[split].append(x)
  return out


def whole(split):
  return split[np.arange(len(split))]


def test_images_of_one_size_come_back_as_they_are(tmp_path):
  images = write(tmp_path, suffixes=(".png", ".webp", ".PNG"))
  (tmp_path / "train" / "cat" / ".DS_Store").write_text("hidden files are passed over")
  source = ImageFolder(path=str(tmp_path))
  assert (source.spec.shape, source.spec.classes) == ((6, 8, 3), 2)
  for name, x in images.items():
    rows = whole(source.split(name))
    np.testing.assert_array_equal(rows["x"], x)
    assert rows["label"].tolist() == [0, 0, 0, 1, 1, 1]


def test_grey_and_colour(tmp_path):
  images = write(tmp_path, mode="L")
  grey = whole(ImageFolder(path=str(tmp_path), channels=1).split("train"))["x"]
  np.testing.assert_array_equal(grey[..., 0], images["train"])
  colour = whole(ImageFolder(path=str(tmp_path)).split("train"))["x"]
  np.testing.assert_array_equal(colour, np.repeat(grey, 3, -1))


def test_decoding_on_demand_agrees_with_decoding_at_once(tmp_path, monkeypatch):
  write(tmp_path, sizes=((6, 8), (20, 10)))
  at_once = whole(ImageFolder(path=str(tmp_path), size=(5, 5)).split("train"))
  monkeypatch.setattr(image_folder, "_IN_MEMORY", 0)
  split = ImageFolder(path=str(tmp_path), size=(5, 5)).split("train")
  assert isinstance(split, image_folder.Files)
  index = np.array([4, 0, 4])
  for k, v in split[index].items():
    np.testing.assert_array_equal(v, at_once[k][index])


def test_the_middle_is_cropped_and_nothing_is_stretched():
  """A disc in the middle stays a disc in the middle, whatever the shape of the picture around it."""
  for height, width in [(60, 200), (200, 60), (100, 100)]:
    y, x = np.mgrid[:height, :width]
    disc = (y - height / 2 + 0.5) ** 2 + (x - width / 2 + 0.5) ** 2 < 25**2
    picture = Image.fromarray((64 + 128 * disc).astype(np.uint8))  # leaves the filter room to overshoot
    out = (decode.fit(picture, (30, 30), 1)[..., 0] - 64.0) / 128
    mean, std = zip(*(moments(out.sum(axis)) for axis in (0, 1)), strict=True)
    np.testing.assert_allclose(mean, 14.5, atol=0.02)
    np.testing.assert_allclose(std, 25 / 2 * 30 / min(height, width), rtol=0.01)  # of a disc: half its radius


def moments(weight):
  i = np.arange(len(weight))
  mean = (weight * i).sum() / weight.sum()
  return mean, ((weight * (i - mean) ** 2).sum() / weight.sum()) ** 0.5


def test_reduction_does_not_alias():
  stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
  x = decode.fit(Image.fromarray(stripes), (16, 16), 1)
  assert np.abs(x.astype(int) - 127).max() <= 12  # one in four columns would be all black


def test_photographs_are_turned_the_way_up_that_they_were_taken():
  exif = Image.Exif()
  exif[0x0112] = 6  # to be seen after a quarter turn to the right
  picture = np.zeros((16, 32), np.uint8)
  picture[:, :16] = 255  # the left half, which becomes the upper one
  file = io.BytesIO()
  Image.fromarray(picture).save(file, "JPEG", exif=exif)
  assert decode.measure(file) == (32, 16)
  seen = decode.decode(file, (32, 16), 1)
  assert seen[:14].min() > 250
  assert seen[18:].max() < 5


@pytest.mark.parametrize("exif", [False, True])
def test_the_size_of_a_png_is_read_without_its_pixels(exif, monkeypatch):
  turned = Image.Exif()
  turned[0x0112] = 6
  file = io.BytesIO()
  Image.fromarray(np.zeros((16, 32), np.uint8)).save(file, "PNG", **(dict(exif=turned) if exif else {}))
  monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
  assert decode.measure(file) == ((32, 16) if exif else (16, 32))


def refuse(folder, *parts, **kwargs):
  with pytest.raises(InputError) as e:
    ImageFolder(path=str(folder), **kwargs).split("train")
  assert "\n" not in str(e.value)
  for part in parts:
    assert part in str(e.value)
  return str(e.value)


def test_different_sizes_are_refused_unless_one_is_asked_for(tmp_path):
  write(tmp_path, sizes=((6, 8), (8, 8)))
  refuse(tmp_path, "4 of 6x8", "2 of 8x8", "cat/1.png", "set data.size")
  assert ImageFolder(path=str(tmp_path), size=(4, 6)).split("train").columns["x"].shape == (6, 4, 6, 3)


@pytest.mark.parametrize("limit", [2**30, 0])
def test_unreadable_files_are_listed_and_counted(tmp_path, monkeypatch, limit):
  monkeypatch.setattr(image_folder, "_IN_MEMORY", limit)
  write(tmp_path, num=9)
  for i in range(9):
    (tmp_path / "train" / "cat" / f"{i}.png").write_bytes(b"no image")
    (tmp_path / "train" / "dog" / f"{i}.png").write_bytes(b"" if i < 4 else b"GIF89a")
  message = refuse(tmp_path, "18 unreadable files", "cat/0.png", "and 8 more", size=(6, 8))
  assert message.count(".png") == 10
  refuse(tmp_path, "unreadable files", "cat/0.png")  # also where the first file gives the size


def test_half_an_image_is_refused(tmp_path):
  write(tmp_path, sizes=((60, 80),))
  path = tmp_path / "train" / "dog" / "1.png"
  path.write_bytes(path.read_bytes()[:5000])
  refuse(tmp_path, "1 unreadable files", str(path), "repair or remove")


def test_sixteen_bits_are_refused_rather_than_clipped(tmp_path):
  write(tmp_path)
  Image.fromarray(np.full((6, 8), 3000, np.uint16)).save(tmp_path / "train" / "cat" / "0.png")
  refuse(tmp_path, "cat/0.png", "more than 8 bits")


def test_other_files_are_refused(tmp_path):
  write(tmp_path)
  (tmp_path / "test" / "cat" / "notes.txt").write_text("hello")
  refuse(tmp_path, "notes.txt", "not PNG, JPEG or WebP")


def test_images_in_no_class_folder_are_refused(tmp_path):
  write(tmp_path)
  (tmp_path / "test" / "labels.csv").write_text("hello")
  ImageFolder(path=str(tmp_path)).split("train")
  shutil.copy(tmp_path / "test" / "cat" / "0.png", tmp_path / "test" / "astray.PNG")
  refuse(tmp_path, "test/astray.PNG (in no class folder)")


def test_folders_that_are_not_laid_out_as_they_should_be(tmp_path):
  refuse(tmp_path / "nowhere", "no images in", "{train,test}/<class>/<file>")
  write(tmp_path)
  shutil.move(tmp_path / "test" / "dog", tmp_path / "test" / "dogs")
  refuse(tmp_path, "classes that the training images lack: dogs")
  shutil.rmtree(tmp_path / "test")
  refuse(tmp_path, "no images in")
  with pytest.raises(InputError, match="give"):
    ImageFolder(path=str(tmp_path), size=(3,))


def test_sets_that_cannot_be_learned_or_scored(tmp_path):
  write(tmp_path)
  (tmp_path / "train" / "owl").mkdir()
  refuse(tmp_path, "classes without an image: owl")
  (tmp_path / "train" / "owl").rmdir()
  for path in sorted((tmp_path / "test").glob("*/*"))[1:]:
    path.unlink()
  refuse(tmp_path, "only", "cat/0.png in", "{train,test}/<class>/<file>")


def test_cifar10_subset(cifar10_test):
  source = ImageFolder(path=str(cifar10_test))
  assert (source.spec.shape, source.spec.classes) == ((32, 32, 3), 10)
  columns = source.split("test").columns
  assert np.bincount(columns["label"]).tolist() == [200] * 10
  ship = sorted((cifar10_test / "test" / "ship").iterdir())[0]
  np.testing.assert_array_equal(columns["x"][8 * 200], np.asarray(Image.open(ship).convert("RGB")))
