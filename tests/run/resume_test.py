"""A run that is killed, stopped or lengthened ends like one that was left alone."""

import json
import signal
import time

import jax
import numpy as np
import pytest

import gen_jax
from gen_jax.run.train import train


def _wait(process, happened):
  """Until `happened` or the process has ended."""
  while not happened() and process.poll() is None:
    time.sleep(0.0002)


def _rows(workdir):
  path = workdir / "train.jsonl"
  lines = path.read_text().splitlines() if path.exists() else []
  return [json.loads(line) for line in lines if line.endswith("}")]


def _reached(workdir, step):
  return lambda: any(row["step"] >= step for row in _rows(workdir))


def _checkpoints(workdir):
  folder = workdir / "checkpoints"
  return {path.name for path in folder.iterdir()} if folder.exists() else set()


def _curve(workdir):
  return [{k: v for k, v in row.items() if "per_second" not in k} for row in _rows(workdir)]


def _assert_same(workdir, other):
  a, b = gen_jax.load(workdir, raw=True), gen_jax.load(other, raw=True)
  jax.tree.map(np.testing.assert_array_equal, a.params, b.params)
  assert a.step == b.step == 60
  assert _curve(workdir) == _curve(other)
  with np.load(workdir / "samples.npz", allow_pickle=False) as x, np.load(other / "samples.npz") as y:
    np.testing.assert_array_equal(x["x"], y["x"])


def test_kill_at_any_moment(tmp_path, launch, finish):
  killed, whole = tmp_path / "killed", tmp_path / "whole"
  finish(whole)
  moments = {
    "before the first checkpoint": lambda: (killed / "config.json").exists(),
    "in the middle of a save": lambda: any(name.startswith(".") for name in _checkpoints(killed)),
    "just after a save": lambda: "20" in _checkpoints(killed),
    "between saves": _reached(killed, 35),
    "before the samples": lambda: "60" in _checkpoints(killed),
  }
  for moment, happened in moments.items():
    process = launch(killed)
    _wait(process, happened)
    process.kill()
    process.communicate()
    assert happened(), f"never came to pass: {moment}"
  finish(killed)
  _assert_same(killed, whole)
  assert _checkpoints(killed) == {"50", "60"}  # `keep` of them, and no leavings


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_asked_to_stop(tmp_path, launch, number, code):
  stopped = tmp_path / "stopped"
  process = launch(stopped, "--config.train.steps=100000", "--config.train.save_every=100000")
  _wait(process, _reached(stopped, 5))
  process.send_signal(number)
  out, _ = process.communicate()
  assert process.returncode == code, out
  (saved,) = _checkpoints(stopped)
  assert f"saved at step {saved}" in out.splitlines()[-1]
  assert int(saved) >= 5


def test_longer_run(tmp_path, load, capsys):
  run, whole = tmp_path / "run", tmp_path / "whole"
  train(load(), whole)
  train(load({"train.steps": "37", "train.steps_per_dispatch": "auto"}), run)
  assert _checkpoints(run) == {"30", "37"}
  train(load({"train.steps": "37"}), run)  # nothing left to do but to sample and score
  train(load({"train.steps_per_dispatch": "7"}), run)
  assert "goes on from step 37" in capsys.readouterr().out
  a, b = gen_jax.load(run, raw=True), gen_jax.load(whole, raw=True)
  jax.tree.map(np.testing.assert_array_equal, a.params, b.params)  # however the steps were cut into dispatches
