"""Damaged and foreign checkpoints are named; the newest good one is used; nothing is overwritten."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax.errors import InputError
from gen_jax.family import State
from gen_jax.run import checkpoint
from gen_jax.run.checkpoint import Checkpoints


def _state(step):
  params = {"w": jnp.arange(5000.0).reshape(50, 100) + step, "b": jnp.full((3,), step, jnp.bfloat16)}
  tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
  return State(jnp.int32(step), params, tx.init(params), None, {"chains": jnp.full((7, 2), step, jnp.int32)})


def _like(state):
  here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return checkpoint.abstract(state, jax.tree.map(lambda _: here, state))


@pytest.fixture
def three(tmp_path, load):
  """A run with checkpoints 1, 2 and 3."""
  checkpoints = Checkpoints(tmp_path, load(), keep=3)
  for step in (1, 2, 3):
    checkpoints.save(step, _state(step))
  return checkpoints


def _truncate(path):
  os.truncate(path, path.stat().st_size // 2)


def _flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(bytes(data))


def _largest(checkpoints, step):
  files = [path for path in (checkpoints.folder / str(step)).rglob("*") if path.is_file()]
  return max(files, key=lambda path: path.stat().st_size)


def test_round_trip(three):
  step, state = three.restore(_like(_state(0)))
  assert step == 3
  assert jax.tree.structure(state) == jax.tree.structure(_state(3))
  jax.tree.map(np.testing.assert_array_equal, state, _state(3))


def test_of_a_run_that_made_no_step(tmp_path, load):
  checkpoints = Checkpoints(tmp_path, load())
  checkpoints.save(0, _state(0))
  assert checkpoints.restore(_like(_state(1)))[0] == 0


def test_files_of_others_are_left_alone(three):
  (three.folder / ".DS_Store").write_text("")
  others = [three.folder / name for name in (".git", ".ipynb_checkpoints", "0004", ".007", "notes")]
  for folder in others:
    (folder / "kept").mkdir(parents=True)
  three.save(4, _state(4))
  assert three.steps() == [2, 3, 4] and (three.folder / ".DS_Store").exists()
  assert all((folder / "kept").exists() for folder in others)


def test_a_step_that_is_written_otherwise_is_named(three):
  for step in (1, 2, 3):
    (three.folder / str(step)).rename(three.folder / f"000{step}")
  said = []
  assert three.steps() == [] and three.restore(_like(_state(0)), warn=said.append) is None
  assert len(said) == 3 and all("the name of one is its step" in line for line in said)


def test_keeps_the_newest(tmp_path, load):
  checkpoints = Checkpoints(tmp_path, load(), keep=2)
  for step in (5, 10, 15):
    checkpoints.save(step, _state(step))
  assert sorted(os.listdir(checkpoints.folder)) == ["10", "15"]


@pytest.mark.parametrize("damage", [_truncate, _flip, lambda path: path.unlink()])
def test_every_damaged_file_is_noticed(three, damage):
  backup = three.folder.with_name("backup")
  shutil.copytree(three.folder, backup)
  for path in sorted((three.folder / "3").rglob("*")):
    if path.is_dir() or (damage is _flip and path.name == "manifest.json"):
      continue  # a changed letter in a manifest may leave it as it was: numbers, digests and config are compared
    damage(path)
    warnings = []
    step, state = three.restore(_like(_state(0)), warnings.append)
    assert step == 2, path
    assert len(warnings) == 1 and str(three.folder / "3") in warnings[0]
    np.testing.assert_array_equal(state.params["w"], _state(2).params["w"])
    shutil.rmtree(three.folder)
    shutil.copytree(backup, three.folder)


def test_damaged_ones_make_room(three):
  _truncate(_largest(three, 3))
  step, _ = three.restore(_like(_state(0)), lambda _: None)
  three.clear(step)
  assert sorted(os.listdir(three.folder)) == ["1", "2", "3.unusable1"]
  three.save(3, _state(3))
  assert three.restore(_like(_state(0)))[0] == 3


def test_another_run_is_named(three, load, tmp_path):
  (tmp_path / "other").mkdir()
  other = Checkpoints(tmp_path / "other", load({"seed": "1"}))
  other.save(4, _state(4))
  shutil.copytree(other.folder / "4", three.folder / "4")
  warnings = []
  assert three.restore(_like(_state(0)), warnings.append)[0] == 3
  assert "another run: seed: 1 -> 0" in warnings[0]


@pytest.mark.parametrize("key", ["step", "config", "leaves", "files"])
@pytest.mark.parametrize("value", [None, 5, "x", [], [1], {}, {"a": 1}, {"a": [1]}])
def test_a_manifest_of_other_types_is_noticed(three, key, value):
  file = three.folder / "3" / "manifest.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
  assert three.restore(_like(_state(0)), warn=lambda _: None)[0] == 2


def test_one_that_is_replaced_while_it_is_read(three, monkeypatch):
  """By the training, which keeps one: the newer is taken, and nothing is said to be damaged."""
  verify, said = checkpoint._verify, []
  state = lambda: three.restore(_like(_state(0)), warn=said.append)

  def while_it_trains(folder, *rest):
    newest = int(folder.name)
    if newest < last:
      os.rename(folder, folder.with_name(str(newest + 1)))
      manifest = folder.with_name(str(newest + 1)) / "manifest.json"
      manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"step": newest + 1}))
    verify(folder, *rest)

  monkeypatch.setattr(checkpoint, "_verify", while_it_trains)
  last = 6
  assert state()[0] == 6 and not said
  last = 100
  with pytest.raises(InputError, match=r"set train\.keep higher"):
    state()


def test_another_library_is_named(three):
  (three.folder / "9").mkdir()
  (three.folder / "9" / "weights.pkl").write_bytes(b"\x80\x04N.")
  (three.folder / "notes").mkdir()
  warnings = []
  assert three.restore(_like(_state(0)), warnings.append)[0] == 3
  assert len(warnings) == 1 and "not a checkpoint of this library" in warnings[0]


def test_another_shape_is_named(three, tmp_path, load):
  wide = _state(0).replace(params={"w": jnp.zeros((50, 101)), "b": jnp.zeros(3, jnp.bfloat16)})
  more = _state(0).replace(ema={"w": jnp.zeros(3)})
  for like, message in (
    (wide, r"3 \(.params\['w'\] is float32\[50, 100\] and should be float32\[50, 101\]"),
    (more, r"3 \(.ema\['w'\] is absent and should be float32\[3\]"),
  ):
    with pytest.raises(InputError, match=message):
      three.restore(_like(like), lambda _: None)


def test_renamed_step_is_noticed(three):
  os.rename(three.folder / "3", three.folder / "8")
  warnings = []
  assert three.restore(_like(_state(0)), warnings.append)[0] == 2
  assert "it is the checkpoint of step 3" in warnings[0]


def test_too_little_memory_is_no_damage(three, monkeypatch):
  import orbax.checkpoint as ocp

  def restore(*_):
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")

  monkeypatch.setattr(ocp.StandardCheckpointer, "restore", restore)
  with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
    three.restore(_like(_state(0)))


def test_none_good(three):
  for step in (1, 2, 3):
    _truncate(_largest(three, step))
  before = {p: p.stat().st_mtime_ns for p in three.folder.rglob("*")}
  with pytest.raises(InputError, match=r"no checkpoint in .* can be used: 3 \(.*bytes.*2 \(.*1 \(.*--workdir"):
    three.restore(_like(_state(0)), lambda _: None)
  assert before == {p: p.stat().st_mtime_ns for p in three.folder.rglob("*")}


def test_none_at_all(tmp_path, load):
  assert Checkpoints(tmp_path, load()).restore(_like(_state(0))) is None


def test_manifest_holds_config_and_position(three, load):
  manifest = json.loads((three.folder / "3" / "manifest.json").read_text())
  assert manifest["step"] == 3
  assert manifest["config"]["seed"] == 0
  assert manifest["config"]["family"]["encoder"]["width"] == 32


def test_a_run_that_was_deleted_is_not_made_again(three, tmp_path):
  os.rename(tmp_path, tmp_path.with_name("elsewhere"))
  with pytest.raises(InputError, match="deleted or moved"):
    three.save(4, _state(4))
  assert not tmp_path.exists()


def test_full_disk(three, monkeypatch):
  monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 50_000, 50_000))
  with pytest.raises(OSError, match="No space left"):
    three.save(4, _state(4))
  assert sorted(os.listdir(three.folder)) == ["1", "2", "3"]


@pytest.mark.parametrize(
  "says, error",
  [
    ("No space left on device", OSError),
    ("Disk quota exceeded", OSError),
    ("File too large", OSError),
    ("Invalid argument", ValueError),  # whoever made it
  ],
)
def test_what_the_disk_refuses(three, monkeypatch, says, error):
  def fail(*_):
    raise ValueError(f"RESOURCE_EXHAUSTED: write: {says} [source locations='...']")

  monkeypatch.setattr(checkpoint, "_write", fail)
  with pytest.raises(error, match=says):
    three.save(4, _state(4))
  assert sorted(os.listdir(three.folder)) == ["1", "2", "3"]


def test_a_checkpoint_from_before_a_field_existed_is_taken(three):
  path = three.folder / "3" / "manifest.json"
  manifest = json.loads(path.read_text())
  del manifest["config"]["family"]["optimizer"]["clip"]
  path.write_text(json.dumps(manifest))
  step, _ = three.restore(_like(_state(0)))
  assert step == 3
