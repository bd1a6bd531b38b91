"""Samples come in equal chunks, are a function of the key, and fit their condition."""

import dataclasses
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gen_jax.data.images import to_uint8
from gen_jax.errors import InputError
from gen_jax.run import sample
from gen_jax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Painter:
  """Paints the label on every pixel, with noise."""

  spec: Spec
  conditions: tuple = ("label",)
  evaluations: int = 7

  def sample(self, key, params, num, cond=None):
    label = jnp.zeros(num) if cond is None else cond["label"]
    noise = jax.random.normal(key, (num, *self.spec.shape))
    return params + label[:, None, None, None] / 10.0 + 1e-3 * noise


SPEC = Spec(shape=(4, 6, 1), kind="image", classes=10, levels=256)
PAINTER = Painter(spec=SPEC)


def _draw(num, seed=0, batch_size=8, cond=None, family=PAINTER):
  return sample.draw(family, jnp.float32(0), num, key=jax.random.key(seed), batch_size=batch_size, cond=cond)


def test_draw():
  x, timing = _draw(21)
  assert x.shape == (21, 4, 6, 1) and x.dtype == np.float32
  np.testing.assert_array_equal(np.round(x.mean((1, 2, 3)) * 10), np.arange(21) % 10)  # every class equally often
  assert timing.evaluations_per_image == 7
  assert timing.compile_seconds > 0 and timing.seconds > 0
  plain, _ = _draw(21, family=Painter(spec=SPEC, conditions=()))
  assert len(np.unique(plain[:, 0, 0, 0])) == 21  # no chunk repeats another
  np.testing.assert_array_equal(x, _draw(21)[0])
  assert (x != _draw(21, seed=1)[0]).all()


def test_more_than_there_is_room_for():
  """It is said before anything is drawn, not when the last chunk is."""
  for num in (10**15, 10**20):
    with pytest.raises(MemoryError):
      _draw(num)


def test_no_more_than_two_chunks_are_on_the_devices():
  sampler = sample.Sampler(PAINTER, jnp.float32(0), 8)
  compiled, made, most = sampler._compiled, [], []

  def watched(*args):
    x = compiled(*args)
    made.append(weakref.ref(x))
    most.append(sum(ref() is not None for ref in made))
    return x

  sampler._compiled = watched
  sampler(jax.random.key(0), jnp.float32(0), 80)
  assert len(made) == 10 and max(most) == 2


def test_condition(tmp_path):
  x, _ = _draw(5, cond={"label": np.full(5, 3)})
  np.testing.assert_array_equal(np.round(x.mean((1, 2, 3)) * 10), 3)
  assert sample.parse("label=3") == {"label": 3}
  assert sample.parse(None) is None
  plain = Painter(spec=SPEC, conditions=())
  assert _draw(3, family=plain)[0].shape == (3, 4, 6, 1)
  for bad, family, message in [
    ({"lable": [1]}, PAINTER, "did you mean 'label'"),
    ({"label": [10]}, PAINTER, "from 0 to 9"),
    ({"label": [-1]}, PAINTER, "from 0 to 9"),
    ({"label": ["six"]}, PAINTER, "should be a number"),
    ({"label": [1]}, plain, "it is unconditional"),
  ]:
    with pytest.raises(InputError, match=message):
      _draw(1, cond=bad, family=family)
  assert sample.parse("label=3,caption=a six") == {"label": 3, "caption": "a six"}
  boxes = np.array([[3, 0.1, 0.2, 0.5, 0.6]])
  np.save(tmp_path / "boxes.npy", boxes)
  np.testing.assert_array_equal(sample.parse(f"boxes={tmp_path / 'boxes.npy'}")["boxes"], boxes)
  np.save(tmp_path / "objects.npy", np.array([None, boxes], object), allow_pickle=True)
  (tmp_path / "empty.npy").touch()
  (tmp_path / "archive.npy").write_bytes(b"PK\x03\x04")
  for name in ("none.npy", "objects.npy", "empty.npy", "archive.npy"):
    with pytest.raises(InputError, match=f"{name} cannot be read as an array"):
      sample.parse(f"boxes={tmp_path / name}")
  for bad in ("3", "label="):
    with pytest.raises(InputError, match="label=3"):
      sample.parse(bad)


def test_files(tmp_path):
  x, _ = _draw(20)
  sample.save(tmp_path / "s.npz", SPEC, x, sample.conditions(PAINTER, 20))
  with np.load(tmp_path / "s.npz", allow_pickle=False) as file:
    assert file["x"].dtype == np.uint8 and file["x"].shape == x.shape
    np.testing.assert_array_equal(file["label"], np.arange(20) % 10)
  np.testing.assert_array_equal(to_uint8(np.array([-2.0, -1, 0, 1, 2])), [0, 0, 128, 255, 255])


def test_grid_keeps_every_image_in_its_place(tmp_path):
  x = np.linspace(-1, 1, 12, dtype=np.float32)[:, None, None, None] * np.ones((12, 4, 6, 3), np.float32)
  sample.picture(tmp_path / "grid.png", Spec(shape=(4, 6, 3), kind="image", levels=256), x, columns=5)
  grid = np.asarray(Image.open(tmp_path / "grid.png"))
  h, w = 32, 48  # enlarged eightfold
  assert grid.shape == (3 * (h + 1) - 1, 5 * (w + 1) - 1, 3)
  for i in range(12):
    row, column = divmod(i, 5)
    tile = grid[row * (h + 1) :, column * (w + 1) :][:h, :w]
    assert (tile == to_uint8(x[i, 0, 0])).all()


def test_vectors(tmp_path):
  spec = Spec(shape=(2,), kind="vector")
  x = np.random.default_rng(0).normal(size=(9, 2))
  sample.save(tmp_path / "s.npz", spec, x)
  sample.picture(tmp_path / "s.png", spec, x)
  with np.load(tmp_path / "s.npz", allow_pickle=False) as file:
    assert file["x"].dtype == np.float32
  assert Image.open(tmp_path / "s.png").size[0] > 100
