"""The command line: one clear line and exit code 2 for whatever is wrong; no traceback unless it is asked for."""

import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.run import command, train
from gen_jax.run import config as configs

ROOT = pathlib.Path(__file__).parents[1]
RING = f"--config={ROOT / 'configs' / 'vae_ring.py'}:smoke"


def _error(capsys, *argv):
  """The one line that the command prints."""
  assert command.main(argv, "") == 2
  out, err = capsys.readouterr()
  lines = err.strip().splitlines()
  assert len(lines) == 1 and lines[0].startswith("error: ") and "Traceback" not in out
  return lines[0]


@pytest.mark.parametrize(
  "argv, message",
  [
    ([RING, "--workdri=x"], "did you mean '--workdir'"),
    ([RING, "--workdir=x", "--train.steps=5"], "did you mean '--config.train.steps'"),
    ([RING], "--workdir=runs/<name> is missing"),
    ([RING, "--workdir=x", "--mode=trian"], "did you mean 'train'"),
    (["--workdir=x"], "--mode=train needs --config"),
    ([RING, "--workdir=x", "--num=many"], "invalid int value: 'many'"),
    ([RING, "--workdir=x", "--mode=sample", "--num=0"], "--num=0 should be at least 1"),
    ([RING, "--workdir=x", "--config.train.steps", "5"], "write --config.train.steps=value"),
    ([RING, "--workdir=x", "--config.train.stesp=5"], "did you mean 'steps'"),
    ([RING, "--workdir=x", "--config.family=vae.VEA"], "did you mean 'vae.VAE'"),
    ([RING, "--workdir=x", "--config.data=synthetic.Rign"], "did you mean 'synthetic.Ring'"),
    ([RING, "--workdir=x", "--config.train.batch_size=60000"], "50000 training rows"),
    ([RING.replace("vae_ring.py", "vae_rign.py"), "--workdir=x"], "did you mean"),
    ([RING.replace(":smoke", ":smok"), "--workdir=x"], "did you mean 'smoke'"),
    (["--mode=sample", "--workdir=nowhere"], "no run in nowhere"),
    ([RING, "--workdir="], "--workdir=runs/<name> is missing"),
    ([RING, "--workdir=x", "--seed=3"], "write --config.seed"),
    (["--mode=eval", "--workdir=x", "--cond=label=3"], "it belongs to --mode=sample"),
    (["--mode=eval", "--workdir=x", "--seed=-1"], "should be from 0 to"),
    ([RING, "--workdir=x", "--config.seed=-1"], "should be from 0 to"),
    ([RING, "--workdir=x", "--config.family=3"], "family = 3 should be a name or a mapping"),
    ([RING, "--workdir=x", "--config.family.name=3"], "3 should be a name in families"),
    ([RING, "--workdir=x", "--config.family=vae"], "no 'vae' in families"),
    ([RING, "--workdir=x", "--config.data=a.b.c"], "no 'a.b.c' in data"),
    ([RING, "--workdir=x", "--config.data=synthetic.Plain"], "no 'synthetic.Plain' in data"),
    ([RING, "--workdir=x", "--config.data=synthetic.Plane"], "no 'synthetic.Plane' in data"),
    ([RING, "--workdir=x", "--config.data=synthetic.Spec"], "no 'synthetic.Spec' in data"),
    (
      [RING, "--workdir=x", "--config.family=diffusion.Diffusion", "--config.family.solver=grids.linear"],
      "is no Solver",
    ),
    ([RING, "--workdir=x", "--config.data.num_test=1"], "num_test = 1 should be at least 2"),
    ([RING, "--workdir=x", "--config.family.optimizer=None"], "family.optimizer = None should be a name or a mapping"),
    ([RING, "--workdir=x", "--config.family.optimizer.lr=-1"], "optimizer: lr = -1.0 should be at least 0"),
    ([RING, "--workdir=x", "--config.evaluate.num=0"], "evaluate.num = 0 should be at least"),
    ([RING, "--workdir=x", "--config.evaluate.features=features.digits"], "takes examples of shape (8, 8, 1)"),
    ([f"--config={ROOT / 'README.md'}", "--workdir=x"], "is not a config"),
  ],
)
def test_bad_input(capsys, tmp_path, monkeypatch, argv, message):
  monkeypatch.chdir(tmp_path)
  assert message in _error(capsys, *argv)
  assert not list(tmp_path.iterdir())  # nothing is left behind


def test_unwritable_workdir(capsys, tmp_path):
  (tmp_path / "file").write_text("")
  for workdir in (tmp_path / "file", tmp_path / "file" / "run", "/proc/run"):
    assert "choose a --workdir that you may write to" in _error(capsys, RING, f"--workdir={workdir}")


def test_a_place_that_cannot_take_checkpoints_is_found_before_the_training(capsys, tmp_path):
  (tmp_path / "checkpoints").write_text("")
  assert "choose a --workdir that you may write to" in _error(capsys, RING, f"--workdir={tmp_path}")
  assert not (tmp_path / "train.jsonl").exists()


@pytest.mark.parametrize(
  "config, field, message",
  [
    ("diffusion_ring", "family.grid={'name': 'grids.times', 'ts': (2.0, 0.5, 0.0)}", "outside"),
    ("diffusion_ring", "family.flow.grid=grids.trailing", "it ends at"),
    ("flow_matching_ring", "family.path={'name': 'gaussian.rectified', 't_max': 1.0}", "all data or all noise"),
    ("diffusion_digits", "evaluate.judge=scenes.Reader", "set evaluate.judge to None"),
  ],
)
def test_what_comes_after_the_training_is_tried_before_it(capsys, tmp_path, config, field, message):
  config = f"--config={ROOT / 'configs' / config}.py:smoke"
  assert message in _error(capsys, config, f"--workdir={tmp_path / 'x'}", f"--config.{field}")
  assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
  "field, message",
  [
    ("net.channels=0", "(--traceback shows where)"),
    ("net.attention=(7,)", "net.attention = (7,) should name levels from 0 to 1"),
    ("net.head_channels=5", "net.head_channels = 5 does not divide"),
    ("net.dropout=2.0", "net.dropout = 2.0 should be at least 0 and less than 1"),
    ("ema_decay=1.5", "ema_decay = 1.5 should be in [0, 1)"),
  ],
)
def test_a_model_that_cannot_be_traced_leaves_nothing_behind(capsys, tmp_path, field, message):
  """The last fails in a step, the others where the parameters are made."""
  config = f"--config={ROOT / 'configs' / 'diffusion_digits.py'}:smoke"
  assert message in _error(capsys, config, f"--workdir={tmp_path / 'x'}", f"--config.family.{field}")
  assert not (tmp_path / "x").exists()


def test_a_config_without_a_step_is_in_nobodys_way(tmp_path):
  config = configs.load(RING.removeprefix("--config="))
  configs.save(config, tmp_path)
  other = configs.load(RING.removeprefix("--config="), [("seed", "1")])
  train.refuse_other(other, tmp_path)
  (tmp_path / "train.jsonl").write_text("")
  train.refuse_other(other, tmp_path)
  (tmp_path / "train.jsonl").write_text('{"step": 1}')
  with pytest.raises(InputError, match="seed: 0 -> 1"):
    train.refuse_other(other, tmp_path)
  shorter = configs.load(RING.removeprefix("--config="), [("train.steps", "1")])
  with pytest.raises(InputError, match="take it as it is"):
    train.refuse_other(shorter, tmp_path)


@pytest.mark.parametrize(
  "name, content",
  [
    ("config.json", b'{"model_type": "bert"}'),
    ("config.json", b"[1]"),
    ("config.json", b"not JSON"),
    ("train.jsonl", b'{"text": "hello"}\n'),
    ("train.jsonl", b"text one\n"),
    ("train.jsonl", b"\xff\xfe\x01\n"),
    ("metrics.json", b"{}"),
    ("samples.png", b"somebody's"),
  ],
)
def test_files_of_no_run_are_left_alone(capsys, tmp_path, name, content):
  (tmp_path / name).write_bytes(content)
  assert "--workdir" in _error(capsys, RING, f"--workdir={tmp_path}")
  assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {name: content}


@pytest.mark.parametrize("seed, message", [("1", "seed: 1 -> 0"), ("0", "has trained in")])
def test_a_run_that_another_process_made_meanwhile_is_left_alone(tmp_path, monkeypatch, seed, message):
  """Where there is no directory yet, both begin; the one that is slower finds it held, or a run in it."""
  config, other = (configs.load(RING.removeprefix("--config="), [("seed", s)]) for s in ("0", seed))
  rehearse = train.rehearse

  def slowly(*args):
    monkeypatch.setattr(train, "rehearse", rehearse)
    train.train(other, tmp_path / "x")
    made.update({p: p.read_bytes() for p in (tmp_path / "x").rglob("*") if p.is_file()})
    rehearse(*args)

  made = {}
  monkeypatch.setattr(train, "rehearse", slowly)
  with pytest.raises(InputError, match=message):
    train.train(config, tmp_path / "x")
  assert made and made == {p: p.read_bytes() for p in (tmp_path / "x").rglob("*") if p.is_file()}


def test_schedules_that_do_not_end_with_the_training_are_named():
  section = {"g": {"schedule": "cosine", "decay_steps": 10}, "d": {"schedule": "constant", "decay_steps": 7}}
  assert list(train._schedules(section, 10)) == []
  for steps in (5, 20):
    assert list(train._schedules(section, steps)) == [
      f"note: the learning rate decays over 10 steps (family.g.decay_steps), the training takes {steps}"
    ]
  rounds = {"rounds": 3, "round_steps": 4, "neighbours": {"total": 12}}
  assert list(train._schedules(rounds, 12)) == []
  assert list(train._schedules(rounds, 11)) == [
    "note: 3 rounds take 12 steps (family.round_steps), the training 11",
    "note: the curriculum takes 12 steps (family.neighbours.total), the training 11",
  ]


def test_traceback_on_request(tmp_path):
  with pytest.raises(InputError):
    command.main([RING, f"--workdir={tmp_path}", "--config.seed=zero", "--traceback"], "")


def test_a_bug_is_not_hidden(tmp_path, monkeypatch):
  def broken(*_):
    raise KeyError("a bug")

  monkeypatch.setattr(command, "_run", broken)
  with pytest.raises(KeyError):
    command.main([RING, f"--workdir={tmp_path}"], "")


def test_an_interrupt_ends_in_one_line(capsys, tmp_path, monkeypatch):
  def interrupted(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(command, "_run", interrupted)
  assert command.main(["--mode=sample", f"--workdir={tmp_path}"], "") == 130
  assert capsys.readouterr().out == "SIGINT: stopped\n"


def test_a_workdir_at_home(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  flags, _ = command.parse(["--mode=sample", "--workdir=~/runs/x"])
  assert flags.workdir == tmp_path / "runs" / "x"


def test_output_that_nobody_reads_ends_the_run_in_silence(tmp_path):
  """As by `| head -1`."""
  command = [sys.executable, str(ROOT / "launch.py"), RING, f"--workdir={tmp_path / 'run'}"]
  with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
    assert process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait(timeout=120)) == (b"", 128 + signal.SIGPIPE)


def test_what_is_too_large_for_the_memory(capsys, tmp_path):
  error = _error(capsys, RING, f"--workdir={tmp_path / 'run'}", "--config.family.encoder.width=3000000")
  assert "llocat" in error and "make the model, train.batch_size" in error


def test_train_sample_eval(tmp_path):
  run = lambda *flags: subprocess.run(
    [sys.executable, str(ROOT / "launch.py"), f"--workdir={tmp_path / 'run'}", *flags], capture_output=True, text=True
  )
  done = run(RING)
  assert done.returncode == 0, done.stderr
  assert "--mode=sample" in done.stdout.splitlines()[-1]  # the next step
  assert run("--mode=eval").returncode == 0
  assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
  done = run("--mode=eval", "--config.family.beta=2.0")
  assert "note: not as it was trained: family.beta: 1.0 -> 2.0" in done.stdout
  record = json.loads((tmp_path / "run" / "metrics.json").read_text())
  assert record["overrides"] == ["family.beta: 1.0 -> 2.0"]
  done = run("--mode=eval", "--config.family.latent=3")
  assert done.returncode == 2 and "fits a model that is not as it was trained (family.latent: 4 -> 3)" in done.stderr
  done = run("--mode=sample", "--num=33", "--seed=5")
  assert "s/image" in done.stdout and "network evaluations/image" in done.stdout
  with np.load(tmp_path / "run" / "samples.npz", allow_pickle=False) as file:
    assert file["x"].shape == (33, 2)
  assert "| tensorflow" not in subprocess.run(
    [sys.executable, "-X", "importtime", str(ROOT / "launch.py"), f"--workdir={tmp_path / 'again'}", RING],
    capture_output=True, text=True, check=True,
  ).stderr  # fmt: skip
