"""Tables of finished runs, from their `metrics.json`.

    python -m gen_jax.run.compare runs/*
    python -m gen_jax.run.compare runs/* --markdown

Only runs that were evaluated in the same way share a table; its first row is the floor, what training images score.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Iterable
from typing import Any

from gen_jax.errors import InputError
from gen_jax.run.evaluate import caption, spell

_COLUMNS = {
  "frechet": "Frechet",
  "kid": "KID",
  "precision": "precision",
  "recall": "recall",
  "density": "density",
  "coverage": "coverage",
  "confident": "confident (>= 90%)",
  "label_accuracy": "label accuracy",
  "class_share_min": "rarest class",
  "class_share_max": "commonest",
  "cross_entropy": "cross entropy",
  "outside": "where no data are",
  "log_prob": "log p, nats",
  "bits_per_dim": "bits/dim",
  "seconds_per_image": "s/image",
  "evaluations_per_image": "NFE",
}


def read(workdir: pathlib.Path) -> dict[str, Any]:
  """The newest evaluation of a run.

  Raises:
    InputError: it has none.
  """
  file, remedy = workdir / "metrics.json", f"python launch.py --mode=eval --workdir={workdir}"
  try:
    record = json.loads(file.read_text())
    list(tables({str(workdir): record}))  # it can be shown
    return record
  except OSError:
    raise InputError(f"no metrics.json in {workdir}: {remedy}") from None
  except (ValueError, KeyError, TypeError, AttributeError):
    raise InputError(f"{file} is not an evaluation of this library: {remedy}") from None


def tables(records: dict[str, dict[str, Any]]) -> Iterable[tuple[str, list[str], list[list[str]]]]:
  """Yields (caption, header, rows) for every way in which some of the `records`, by name of the run, were made."""
  groups: dict[str, dict[str, dict[str, Any]]] = {}
  for name, record in records.items():
    groups.setdefault(caption(record), {})[name] = record
  for title, group in groups.items():
    columns = [c for c in _COLUMNS if any(c in record for record in group.values())]
    floor = {k.removesuffix("_floor"): v for record in group.values() for k, v in record.items() if "_floor" in k}
    rows = [["training images (floor)", "", *(spell(floor.get(c)) for c in columns)]]
    for name, record in group.items():
      parameters = "; ".join([f"{record['parameters']}, step {record['step']}", *record.get("overrides", ())])
      rows.append([name, parameters, *(_cell(record, c) for c in columns)])
    yield title, ["run", "parameters", *(_COLUMNS[c] for c in columns)], rows


def _cell(record: dict[str, Any], column: str) -> str:
  text = spell(record.get(column))
  if error := record.get(f"{column}_error"):
    text += f" ± {error:.1g}"
  return f"{text} ({record['log_prob_kind']})" if column == "log_prob" and text else text


def _markdown(title: str, header: list[str], rows: list[list[str]]) -> str:
  lines = [header, ["---"] * len(header), *rows]
  return f"{title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _print(title: str, header: list[str], rows: list[list[str]]) -> None:
  """A run to a column: scores are many and short."""
  from rich.console import Console
  from rich.table import Table

  table = Table(title=title)
  for name in (header[0], *(row[0] for row in rows)):
    table.add_column(name, overflow="fold")
  for score, *values in zip(header[1:], *(row[1:] for row in rows), strict=True):
    table.add_row(score, *values)
  Console(markup=False, emoji=False).print(table)


def main() -> int:
  """Prints the tables of the runs on the command line; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("workdirs", nargs="+", type=pathlib.Path)
  parser.add_argument("--markdown", action="store_true", help="for a README")
  flags = parser.parse_args()
  records, failed = {}, False
  for workdir in (path for path in flags.workdirs if not path.is_file()):  # runs/* has files, and unfinished runs
    try:
      records[str(workdir)] = read(workdir)
    except InputError as e:
      failed = True
      print(f"error: {e}", file=sys.stderr)
  for table in tables(records):
    if flags.markdown:
      print(_markdown(*table))
    else:
      _print(*table)
  return 2 if failed else 0


if __name__ == "__main__":
  sys.exit(main())
