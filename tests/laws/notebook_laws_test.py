"""Notebooks run from top to bottom, with the runs that they ask for, untrained."""

import json
import pathlib
import re

import jax
import numpy as np
import pytest

from gen_jax.data.feed import feed
from gen_jax.run import config as configs
from gen_jax.run.checkpoint import Checkpoints

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def untrained(config, workdir):
  """Leaves in `workdir` a run of small networks before its first step."""
  config = configs.load(config, {"family.net.channels": "8", "train.batch_size": "8"}.items())
  source, family = configs.build(config)
  data = feed(source, seed=0, batch_size=8)
  batch = data.batch(data.store, jax.tree.map(lambda a: a[0], data.chunk(0, 1, 1)))
  workdir.mkdir(parents=True)
  configs.save(config, workdir)
  Checkpoints(workdir, config).save(0, jax.jit(family.init)(jax.random.key(0), batch))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_run(path, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("MPLBACKEND", "agg")
  cells = json.loads(path.read_text())["cells"]
  source = lambda kind: ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]
  commands = re.findall(r"launch\.py --config=(\S+) --workdir=(\S+)", "\n".join(source("markdown")))
  for config, workdir in commands:
    untrained(str(ROOT / config), pathlib.Path(workdir))
  names = {}
  for cell in source("code"):
    exec(cell, names)
  assert commands
  assert all(np.isfinite(v).all() for v in names.values() if isinstance(v, jax.Array) and v.dtype == "float32")
