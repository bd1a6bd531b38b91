"""What a run writes down: rows in `train.jsonl`, event files for TensorBoard, a loss plot, a line of progress."""

import contextlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

_EVERY = 2.0  # seconds between lines of progress where there is no terminal to draw a bar on


class Writer:
  """The log of a run from step `first` on; later rows, of a run that was cut off, are dropped.

  Args:
    workdir: where it is written.
    first: the step from which the run goes on.
    last: the step at which it ends.
    batch_size: examples per step.
    log_every: a row is the mean of the metrics over this many steps; the first one since `first`, if that is fewer.
    quiet: whether to write and print nothing, as all processes but one do.
  """

  def __init__(
    self, workdir: pathlib.Path, *, first: int, last: int, batch_size: int, log_every: int, quiet: bool = False
  ):
    self._last, self._batch_size, self._log_every = last, batch_size, log_every
    self._window: list[dict[str, float]] = []
    self._rates = {"steps_per_second": 0.0, "images_per_second": 0.0}
    self._quiet = quiet
    if not quiet:
      truncate(workdir / "train.jsonl", first)
      self._rows = open(workdir / "train.jsonl", "a", encoding="utf-8")  # noqa: SIM115 - closed in __exit__
      self._events = _Events(workdir / "events", first)
      self._progress = _Bar(first, last) if sys.stdout.isatty() else _Lines(last)

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, *_: Any) -> None:
    if not self._quiet:
      self._progress.close()
      self._rows.close()
      self._events.close()

  def steps(self, first: int, metrics: dict[str, np.ndarray], seconds: float | None) -> None:
    """Takes in the metrics [num] of the steps after `first`, which took `seconds`; None where that says nothing."""
    if self._quiet:
      return
    num = len(next(iter(metrics.values())))
    if seconds:
      rate = num / seconds
      self._rates = {"steps_per_second": rate, "images_per_second": rate * self._batch_size}
    for i in range(num):
      step = first + i + 1
      self._window.append({k: float(v[i]) for k, v in metrics.items()})
      if step % self._log_every == 0 or step == self._last:
        self._row(step)
    name, values = next(iter(metrics.items()))
    self._progress.show(first + num, name, float(values[-1]), self._rates)

  def say(self, text: str) -> None:
    """Prints a line, above the bar where there is one."""
    if not self._quiet:
      self._progress.say(text)

  def _row(self, step: int) -> None:
    row = {k: float(np.mean([m[k] for m in self._window])) for k in self._window[0]} | self._rates
    self._window.clear()
    self._rows.write(json.dumps({"step": step, **row}) + "\n")
    self._rows.flush()
    self._events.row(step, row)


class _Events:
  """An event file, written at once and in this thread: tensorboardX's own thread dies in silence on a full disk."""

  def __init__(self, folder: pathlib.Path, first: int):
    with _hidden("torch"):  # which tensorboardX imports where there is one: two seconds, for nothing that is done here
      from tensorboardX.event_file_writer import EventsWriter
      from tensorboardX.proto import event_pb2, summary_pb2

    self._event, self._summary = event_pb2, summary_pb2.Summary
    folder.mkdir(exist_ok=True)
    self._file = EventsWriter(str(folder / "events"), f".{os.getpid()}")
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)  # hides what earlier files have from here on
    self._file.write_event(event_pb2.Event(wall_time=time.time(), step=first + 1, session_log=start))

  def row(self, step: int, row: dict[str, float]) -> None:
    values = [self._summary.Value(tag=f"train/{name}", simple_value=value) for name, value in row.items()]
    summary = self._summary(value=values)
    self._file.write_event(self._event.Event(wall_time=time.time(), step=step, summary=summary))
    self._file.flush()

  def close(self) -> None:
    self._file.close()


@contextlib.contextmanager
def _hidden(name: str) -> Iterator[None]:
  """Within it, a package that was not imported before cannot be."""
  if name in sys.modules:
    yield
    return
  sys.modules[name] = None
  try:
    yield
  finally:
    del sys.modules[name]


class _Bar:
  """One bar at the bottom of a terminal."""

  def __init__(self, first: int, last: int):
    from rich import progress, table

    whole = lambda: table.Column(no_wrap=True)  # the bar alone gives way on a narrow terminal
    self._bar = progress.Progress(
      progress.TextColumn("{task.completed}/{task.total}", table_column=whole()),
      progress.BarColumn(bar_width=None),
      progress.TextColumn("{task.description}", table_column=whole()),
      progress.TimeRemainingColumn(table_column=table.Column(no_wrap=True, min_width=7)),
      progress.TextColumn("left"),
      expand=True,
    )
    self._task = self._bar.add_task("compiling", total=last, completed=first)
    self._bar.start()

  def show(self, step: int, name: str, value: float, rates: dict[str, float]) -> None:
    self._bar.update(self._task, completed=step, description=_status(name, value, rates))

  def say(self, text: str) -> None:
    self._bar.console.print(text, highlight=False, markup=False)

  def close(self) -> None:
    self._bar.stop()


class _Lines:
  """Plain lines, for logs."""

  def __init__(self, last: int):
    self._last, self._shown = last, -_EVERY

  def show(self, step: int, name: str, value: float, rates: dict[str, float]) -> None:
    now = time.monotonic()
    if now - self._shown < _EVERY and step < self._last:
      return
    self._shown = now
    rate = rates["steps_per_second"]
    left = f"  {_clock((self._last - step) / rate)} left" if rate else ""
    self.say(f"step {step}/{self._last}  {_status(name, value, rates)}{left}")

  def say(self, text: str) -> None:
    print(text, flush=True)

  def close(self) -> None:
    pass


def _status(name: str, value: float, rates: dict[str, float]) -> str:
  few = lambda rate: f"{rate:.3g}" if rate < 1000 else f"{rate:.0f}"
  speed = f"  {few(rates['steps_per_second'])} steps/s  {few(rates['images_per_second'])} images/s"
  return f"{name} {value:.4g}" + (speed if rates["steps_per_second"] else "")


def _clock(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02d}:{seconds:02d}"


def rows(path: pathlib.Path) -> list[dict[str, Any]]:
  """The rows of a .jsonl file; a line that is none, such as the last one if it was cut off, is left out."""
  out = []
  for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
    try:
      row = json.loads(line)
    except ValueError:
      continue
    out += [row] if isinstance(row, dict) else []
  return out


def truncate(path: pathlib.Path, step: int) -> None:
  """Drops the rows past `step`."""
  write(path, "".join(json.dumps(row) + "\n" for row in rows(path) if row.get("step", np.inf) <= step))


def write(path: pathlib.Path, text: str) -> None:
  """Replaces a file, all or nothing."""
  with replacing(path) as f:
    f.write(text.encode())


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
  """A file to write into, which takes the place of `path` once it is complete."""
  path = pathlib.Path(path)
  draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # another process may write the same
  try:
    with draft.open("wb") as f:
      yield f
    os.replace(draft, path)
  except BaseException:
    draft.unlink(missing_ok=True)
    raise


def plot(workdir: pathlib.Path) -> pathlib.Path:
  """Draws `loss.png`, the first metric of `train.jsonl` against the step."""
  from matplotlib.figure import Figure

  history = rows(workdir / "train.jsonl")
  figure = Figure(figsize=(7, 4), layout="constrained")
  axes = figure.add_subplot()
  if history:
    name = next(k for k in history[0] if k != "step")
    axes.plot([row["step"] for row in history], [row[name] for row in history])
    axes.set_ylabel(name)
  axes.set_xlabel("step")
  axes.grid(alpha=0.3)
  with replacing(workdir / "loss.png") as f:
    figure.savefig(f, dpi=120, format="png")
  return workdir / "loss.png"


def curves(path: pathlib.Path, x: list[float], ys: dict[str, list[float]], labels: tuple[str, str]) -> None:
  """Draws each of `ys` against x, on logarithmic axes."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(7, 4), layout="constrained")
  axes = figure.add_subplot(xscale="log", yscale="log", xlabel=labels[0], ylabel=labels[1])
  for name, y in ys.items():
    axes.plot(x, y, marker="o", label=name)
  axes.legend()
  axes.grid(alpha=0.3)
  with replacing(path) as f:
    figure.savefig(f, dpi=120, format="png")


def record(workdir: pathlib.Path, metrics: dict[str, Any]) -> None:
  """Writes an evaluation to `metrics.json` and adds it to `metrics.jsonl`."""
  write(workdir / "metrics.json", json.dumps(metrics, indent=2) + "\n")
  with (workdir / "metrics.jsonl").open("ab+") as f:
    f.seek(max(f.seek(0, os.SEEK_END) - 1, 0))
    cut_off = f.read() not in (b"", b"\n")  # the last line, by a full disk: this one does not go on in it
    f.write((cut_off * "\n" + json.dumps(metrics) + "\n").encode())
