"""The shape of the house: imports point one way, files stay readable, configs are plain data."""

import ast
import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
HOUSE = ROOT / "gen_jax"

# Each room may import the rooms on later lines, never one above it; rooms on one line may not import each other.
LAYERS = [
  {"run"},
  {"metrics"},
  {"families"},
  {"processes", "mcmc", "messages"},
  {"solvers", "bijectors", "data"},
  {"nets"},
  {"ops"},
  {"steps"},
  {"family", "resolve"},
  {"types", "errors"},
]
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}
MODULES = sorted(HOUSE.rglob("*.py"))
NAMES = [str(p.relative_to(ROOT)) for p in MODULES]


def room_of(path: pathlib.Path) -> str:
  return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imports(tree: ast.AST):
  """The dotted names that a file imports, at any depth: `from gen_jax import steps` gives gen_jax.steps."""
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and node.module:
      yield from (f"{node.module}.{a.name}" for a in node.names)
    elif isinstance(node, ast.Import):
      yield from (a.name for a in node.names)


def house_imports(path: pathlib.Path):
  for name in imports(ast.parse(path.read_text())):
    if name.startswith("gen_jax."):
      yield name.split(".")[1], name


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_imports_point_down(path):
  room = room_of(path)
  if room == "__init__":
    return  # the front door opens every room
  for other, name in house_imports(path):
    if other == room:
      continue
    assert RANK[other] > RANK[room], f"{path.name} is in {room} and may not import {name}"


@pytest.mark.parametrize("path", sorted((HOUSE / "families").glob("*.py")), ids=lambda p: p.name)
def test_no_family_imports_another(path):
  others = [name for room, name in house_imports(path) if room == "families"]
  assert not others


@pytest.mark.parametrize("path", [*MODULES, ROOT / "launch.py"], ids=[*NAMES, "launch.py"])
def test_files_and_functions_stay_short(path):
  text = path.read_text()
  assert len(text.splitlines()) <= (60 if path.name == "launch.py" else 500)
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.FunctionDef):
      lines = node.end_lineno - node.lineno + 1
      assert lines <= 80, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_files_are_nouns(path):
  assert path.stem not in {"utils", "util", "common", "helpers", "lib", "misc"}


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_public_names_have_docstrings(path):
  tree = ast.parse(path.read_text())
  kinds = (ast.FunctionDef, ast.ClassDef)
  bare = [n.name for n in tree.body if isinstance(n, kinds) and n.name[0] != "_" and not ast.get_docstring(n)]
  assert not bare


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("[a-z]*.py")), ids=lambda p: p.name)
def test_configs_are_plain_data(path):
  tree = ast.parse(path.read_text())
  roots = {name.split(".")[0] for name in imports(tree)}
  assert roots <= {"ml_collections", "configs"}, "a config imports nothing that computes"
  doc = ast.get_docstring(tree) or ""
  assert "launch.py --config=configs/" in doc, "a config's docstring shows the command that runs it"
  calls = [n.func.attr for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
  assert "get" not in calls, "defaults live in dataclass fields"


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_no_pickle_no_tensorflow(path):
  tree = ast.parse(path.read_text())
  roots = {name.split(".")[0] for name in imports(tree)}
  assert not roots & {"pickle", "cloudpickle", "dill", "tensorflow"}
  for node in ast.walk(tree):
    if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
      assert isinstance(node.value, ast.Constant) and node.value.value is False


@pytest.mark.parametrize("path", sorted((HOUSE / "nets").glob("*.py")), ids=lambda p: p.name)
def test_modules_with_parameters_are_layers(path):
  """Others, Flax's `Dense` among them, have the first value of each parameter traced whenever they are applied."""
  for node in ast.walk(ast.parse(path.read_text())):
    bases = [ast.unparse(base) for base in getattr(node, "bases", ())]
    if "nn.Module" in bases and node.name != "Layer":
      assert "self.param(" not in ast.unparse(node), f"{node.name} should be a Layer"
    assert not (isinstance(node, ast.Call) and ast.unparse(node.func) == "nn.Dense"), "use layers.Dense"


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.name)
def test_benchmarks_import_what_there_is(path):
  """They need packages that tests do not have, and so nothing else would see that a name is gone."""
  for _, name in house_imports(path):
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute) or importlib.util.find_spec(name), name
