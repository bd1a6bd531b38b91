"""Notebooks import gen_jax and define nothing; their outputs are stripped, and what they import exists."""

import ast
import importlib
import json
import pathlib

import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def cells(path):
  return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_stripped(path):
  assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_defines_nothing_and_imports_what_exists(path):
  tree = ast.parse("\n".join("".join(cell["source"]) for cell in cells(path)))
  assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and node.module.startswith("gen_jax"):
      module = importlib.import_module(node.module)
      assert all(hasattr(module, a.name) or importlib.import_module(f"{node.module}.{a.name}") for a in node.names)
