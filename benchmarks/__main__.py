"""Runs every `benchmarks/*_bench.py` and prints one table.

    python -m benchmarks [PART OF A NAME ...] [--out=FILE]

Each file has `rows()`, which yields a `Row` for each piece of work whose name has the part in it. Ratios are the
peer's time over ours, so above 1 we are faster; peers that are not installed are named as missing.
"""

import argparse
import dataclasses
import importlib
import json
import os
import pathlib
import platform
import sys

import jax
from rich.console import Console
from rich.table import Table

from benchmarks import timing
from benchmarks.timing import Row
from gen_jax.run import compile as compiling
from gen_jax.run import memory

_HERE = pathlib.Path(__file__).parent


def main() -> None:
  """Measures, prints, and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("parts", nargs="*", default=[""], help="only work whose name has one of these in it")
  parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/bench.json"), help="where the JSON goes")
  flags = parser.parse_args()
  compiling.use_cache()
  rows = []
  files = [importlib.import_module(f"benchmarks.{file.stem}") for file in sorted(_HERE.glob("*_bench.py"))]
  for row in (row for part in flags.parts for file in files for row in file.rows(part)):
    rows.append(row)
    print(f"{row.name}: {row.ours:.4g} s", flush=True)
  if not rows:
    parser.error(f"no work has {' or '.join(flags.parts)} in its name: without an argument all of them are listed")
  limits = {dtype: timing.matmul_limit(dtype) for dtype in sorted({row.dtype for row in rows})}
  Console(width=None if sys.stdout.isatty() else 160).print(_table(rows, limits))
  flags.out.parent.mkdir(parents=True, exist_ok=True)
  record = {"machine": _machine(), "matmul_flops_per_second": limits, "rows": [dataclasses.asdict(r) for r in rows]}
  flags.out.write_text(json.dumps(record, indent=2) + "\n")
  print(f"written to {flags.out}")


def _table(rows: list[Row], limits: dict[str, float]) -> Table:
  table = Table("work", "ours", "peer", "", "ratio", "[min..max]", "share of matmul", title=_machine())
  for row in rows:
    ratio = f"{row.ratio:.2f}" if row.ratio else ""
    spread = f"{min(row.ratios):.2f}..{max(row.ratios):.2f}" if row.ratios else ""
    share = f"{row.flops / row.ours / limits[row.dtype]:.0%}" if row.flops else ""
    peer = f"{row.peer:.3g} s" if row.peer else ""
    table.add_row(row.name, f"{row.ours:.3g} s", row.peer_name, peer, ratio, spread, share)
  return table


def _machine() -> str:
  return f"{os.cpu_count()} cores, {platform.machine()}, {jax.devices()[0].device_kind}, jax {jax.__version__}"


if __name__ == "__main__":
  memory.huge_pages()  # as in a training that launch.py starts
  main()
