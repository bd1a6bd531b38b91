"""One device, four devices, divided parameters and two processes train alike; a checkpoint moves between them."""

import ast
import functools
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

import gen_jax
from gen_jax.errors import InputError
from gen_jax.run import mesh as meshes
from gen_jax.run.hold import Hold
from gen_jax.run.train import train

# Plain gradient descent: Adam turns the rounding of a gradient near zero into a whole step.
STEPS = {"train.steps": "20", "family.optimizer.rule": "sgd", "family.optimizer.lr": "1e-4"}
FLAGS = [f"--config.{k}={v}" for k, v in STEPS.items()]

pytestmark = pytest.mark.usefixtures("on_cpu")  # there can be as many of them as one likes

ROOT = pathlib.Path(__file__).parents[2]
FOUR = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}

DIVIDED = """
import jax, jax.numpy as jnp
from gen_jax import steps
from gen_jax.run import mesh as meshes

mesh = meshes.start()
state = {"w": jnp.zeros((400, 1000)), "odd": jnp.zeros((401, 999)), "small": jnp.zeros((4, 4)), "step": jnp.int32(0)}
state |= {"least": jnp.zeros((128, 128)), "less": jnp.zeros((128, 124))}
shardings = meshes.state_shardings(mesh, state, split=True)
placed = jax.device_put(state, shardings)
print({k: v.addressable_shards[0].data.shape for k, v in placed.items()})
del placed["step"]
print("all-gather" in steps.norm.lower(placed).compile().as_text())
"""


LOADED = """
import sys
import gen_jax
from gen_jax.run import mesh as meshes

meshes.start()
print("step", gen_jax.load(sys.argv[1]).step)
"""


def _assert_close(workdir, other, steps=20):
  a, b = gen_jax.load(workdir, raw=True), gen_jax.load(other, raw=True)
  assert a.step == b.step == steps
  for x, y in zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True):
    np.testing.assert_allclose(x, y, atol=2e-5)


def _losses(workdir):
  return [json.loads(line)["loss"] for line in (workdir / "train.jsonl").read_text().splitlines()]


@pytest.fixture
def one(tmp_path, load):
  """20 steps on one device."""
  train(load(STEPS), tmp_path / "one")
  return tmp_path / "one"


def test_four_devices(tmp_path, one, finish):
  out = finish(tmp_path / "four", *FLAGS, **FOUR)
  assert "4 x cpu" in out
  _assert_close(tmp_path / "four", one)
  np.testing.assert_allclose(_losses(tmp_path / "four"), _losses(one), rtol=1e-4)


def test_checkpoint_moves_between_meshes(tmp_path, one, load, finish):
  wide = ("--config.family.encoder.width=512", "--config.train.fsdp=True")
  finish(tmp_path / "moved", *FLAGS, "--config.train.steps=10", *wide, **FOUR)
  config = load(STEPS | {"family.encoder.width": "512"})
  train(config, tmp_path / "moved")  # goes on, on one device and with whole parameters
  train(config, tmp_path / "stayed")
  _assert_close(tmp_path / "moved", tmp_path / "stayed")


def test_large_leaves_are_divided_and_stay_so():
  out = subprocess.run(
    [sys.executable, "-c", DIVIDED], env=os.environ | FOUR, capture_output=True, text=True, check=True
  )
  shapes, gathered = map(ast.literal_eval, out.stdout.splitlines())
  kept = {"odd": (401, 999), "small": (4, 4), "step": (), "less": (128, 124)}
  assert shapes == kept | {"w": (400, 250), "least": (32, 128)}
  assert not gathered  # by the norm, which joins small ones


@pytest.fixture
def launch_two(launch):
  """launch_two(workdir, *flags) -> the exit codes of two processes that work together, and what each printed.

  The second one may have another workdir, `second`: a folder on its own disk.
  """

  def run(workdir, *flags, second=None):
    places, environments = (workdir, second or workdir), _cluster()
    return _ended([launch(place, *flags, **env) for place, env in zip(places, environments, strict=True)])

  return run


def _cluster():
  """The variables of two processes that meet."""
  with socket.socket() as s:
    s.bind(("localhost", 0))
    port = s.getsockname()[1]
  both = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": "2"}
  return [both | {"JAX_PROCESS_ID": str(i)} for i in range(2)]


def _ended(processes):
  """Their exit codes, and what each printed."""
  outs = [process.communicate(timeout=300)[0] for process in processes]
  return [process.returncode for process in processes], outs


def test_two_processes(tmp_path, one, launch_two):
  codes, outs = launch_two(tmp_path / "two", *FLAGS)
  assert codes == [0, 0], outs
  assert "2 x cpu, 2 process(es)" in outs[0]
  assert "step" not in outs[1] and "metrics" not in outs[1]  # one of them speaks
  _assert_close(tmp_path / "two", one)
  assert (tmp_path / "two" / "metrics.json").exists()


def test_two_processes_score_as_one(one, launch_two):
  codes, outs = launch_two(one, *FLAGS, "--mode=eval")
  assert codes == [0, 0], outs
  assert "metrics:" in outs[0] and "metrics" not in outs[1]
  a, b = (json.loads(line) for line in (one / "metrics.jsonl").read_text().splitlines())
  assert a["frechet"] == b["frechet"]


def test_two_processes_do_not_go_on_from_different_steps(tmp_path, one, launch_two):
  """Whether one of them has no checkpoint, or one that was damaged on its own disk."""
  codes, outs = launch_two(one, *FLAGS, "--config.train.steps=30", second=tmp_path / "empty")
  assert codes == [2, 2] and all("the processes see different checkpoints" in out for out in outs), outs
  shutil.copytree(one, tmp_path / "copy")
  (tmp_path / "copy" / "checkpoints" / "20" / "state" / "_METADATA").write_text("damaged")
  start = functools.partial(subprocess.Popen, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
  command, places = [sys.executable, "-c", LOADED], (one, tmp_path / "copy")
  pairs = zip(places, _cluster(), strict=True)
  codes, outs = _ended([start([*command, str(place)], env=os.environ | env) for place, env in pairs])
  assert codes == [0, 0] and all("step 10" in out for out in outs), outs
  assert "20 cannot be used: another process cannot use it" in outs[0]


def test_two_processes_meet_before_a_part_of_the_config_uses_jax(tmp_path, launch_two):
  """As a classifier does, whose weights are read when its features are named."""
  codes, outs = launch_two(tmp_path / "two", f"--config={ROOT / 'configs' / 'vae_digits.py'}:smoke")
  assert codes == [0, 0], outs


def test_what_one_process_refuses_ends_both(tmp_path, launch_two):
  with Hold(tmp_path) as hold:
    hold.take()
    codes, outs = launch_two(tmp_path, *FLAGS)
  assert codes == [2, 2], outs
  assert "another process is training in" in outs[0] and "the first process could not go on" in outs[1]


def test_unfinished_cluster_settings(monkeypatch):
  monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
  with pytest.raises(InputError, match="JAX_COORDINATOR_ADDRESS and JAX_PROCESS_ID must be too"):
    meshes.start()
  monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
  with pytest.raises(InputError, match="JAX_NUM_PROCESSES=two should be a number"):
    meshes.start()


def test_a_device_that_there_is_not(monkeypatch):
  def fail():
    raise AssertionError

  monkeypatch.setattr(jax, "devices", fail)
  monkeypatch.setenv("JAX_PLATFORMS", "cuda")
  with pytest.raises(InputError, match=r"JAX_PLATFORMS=cuda .*: set JAX_PLATFORMS to others"):
    meshes.check()


def test_batch_must_divide(tmp_path, launch):
  process = launch(tmp_path / "odd", "--config.train.batch_size=30", **FOUR)
  out, _ = process.communicate()
  assert process.returncode == 2
  assert "batch_size = 30 does not divide over 4 devices" in out and len(out.splitlines()) == 1
