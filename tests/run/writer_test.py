"""What a run writes: rows that a resumed run does not repeat, event files, a plot."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import rich.console

from gen_jax.run import writer


def _write(workdir, first, last, upto, log_every=10):
  with writer.Writer(workdir, first=first, last=last, batch_size=4, log_every=log_every) as log:
    for step in range(first, upto, 5):
      losses = np.arange(step, step + 5, dtype=np.float32)
      log.steps(step, {"loss": losses, "a": -losses}, 0.5 if step > first else None)


def _rows(workdir):
  return [json.loads(line) for line in (workdir / "train.jsonl").read_text().splitlines()]


def test_rows_are_means(tmp_path, capsys):
  _write(tmp_path, 0, 25, 25)
  rows = _rows(tmp_path)
  assert [row["step"] for row in rows] == [10, 20, 25]  # the last step too
  assert [row["loss"] for row in rows] == [4.5, 14.5, 22.0]
  assert rows[-1]["steps_per_second"] == 10 and rows[-1]["images_per_second"] == 40
  out = capsys.readouterr().out
  assert "step 25/25  loss 24  10 steps/s  40 images/s" in out  # plain lines, where there is no terminal


def test_the_bar_fits_a_terminal():
  """Of 80 columns: it is the bar that gives way, not the numbers."""
  bar = writer._Bar(0, 60_000)
  bar.close()
  bar.show(26_400, "loss", 0.07123, {"steps_per_second": 12.34, "images_per_second": 1574.4})
  console = rich.console.Console(width=80, file=io.StringIO(), color_system=None, force_terminal=False)
  console.print(bar._bar.get_renderable())
  line = console.file.getvalue()
  assert line.startswith("26400/60000 ━") and "loss 0.07123  12.3 steps/s  1574 images/s -:--:-- left" in line


def test_lines_that_are_no_rows_are_dropped(tmp_path):
  _write(tmp_path, 0, 40, 40)
  with (tmp_path / "train.jsonl").open("a") as f:
    f.write('12\n[1]\n{"text": "hello"}\n')
  _write(tmp_path, 20, 40, 40)
  assert [row["step"] for row in _rows(tmp_path)] == [10, 20, 30, 40]


def test_resumed_rows(tmp_path):
  _write(tmp_path, 0, 40, 40)
  with (tmp_path / "train.jsonl").open("a") as f:
    f.write('{"step": 50, "lo')  # killed in the middle of a row
  _write(tmp_path, 20, 40, 40)
  assert [row["step"] for row in _rows(tmp_path)] == [10, 20, 30, 40]
  assert len(list((tmp_path / "events").iterdir())) >= 1


def test_events_are_tensorboards(tmp_path):
  _write(tmp_path, 0, 20, 20)
  (file,) = (tmp_path / "events").iterdir()
  from tensorboardX.proto import event_pb2

  data, events = file.read_bytes(), []
  while data:  # length (8 bytes), its checksum (4), record, its checksum (4)
    size = int.from_bytes(data[:8], "little")
    events.append(event_pb2.Event.FromString(data[12 : 12 + size]))
    data = data[16 + size :]
  assert events[0].file_version == "brain.Event:2"
  assert events[1].session_log.status == event_pb2.SessionLog.START and events[1].step == 1
  assert [e.step for e in events[2:]] == [10, 20]
  assert {v.tag: v.simple_value for v in events[2].summary.value}["train/loss"] == 4.5


def test_torch_is_not_waited_for(tmp_path):
  """Where it is installed, events are written without it, and it can still be imported after."""
  (tmp_path / "torch.py").write_text("print('imported')")
  write = f"""
import pathlib
from gen_jax.run import writer
with writer.Writer(pathlib.Path({str(tmp_path)!r}), first=0, last=1, batch_size=4, log_every=1):
  print("written")
import torch
"""
  path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
  out = subprocess.run(
    [sys.executable, "-c", write], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
  ).stdout
  assert out.split() == ["written", "imported"]


def test_full_disk_is_an_error(tmp_path, monkeypatch):
  (tmp_path / "train.jsonl").symlink_to("/dev/full")
  monkeypatch.setattr(writer, "truncate", lambda *_: None)
  with pytest.raises(OSError, match="No space left"):
    _write(tmp_path, 0, 20, 20)


def test_a_file_that_cannot_be_completed_leaves_the_old_one(tmp_path):
  (tmp_path / "samples.png").write_bytes(b"old")
  with pytest.raises(OSError), writer.replacing(tmp_path / "samples.png") as f:
    f.write(b"half of the ")
    raise OSError
  assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_plot_and_record(tmp_path):
  _write(tmp_path, 0, 40, 40)
  assert writer.plot(tmp_path).stat().st_size > 1000
  writer.record(tmp_path, {"fd": 1.0})
  writer.record(tmp_path, {"fd": 2.0})
  assert json.loads((tmp_path / "metrics.json").read_text()) == {"fd": 2.0}
  lines = tmp_path / "metrics.jsonl"
  assert len(lines.read_text().splitlines()) == 2
  os.truncate(lines, lines.stat().st_size - 3)
  writer.record(tmp_path, {"fd": 3.0})
  assert writer.rows(lines) == [{"fd": 1.0}, {"fd": 3.0}]
