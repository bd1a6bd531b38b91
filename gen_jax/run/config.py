"""A run's config: read from a file of configs/ or from a working directory, overridden, completed and checked."""

import ast
import importlib.util
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ml_collections

from gen_jax import resolve
from gen_jax.errors import InputError, check_seed, near, one_line
from gen_jax.run import writer

_SECTIONS = ("seed", "data", "family", "train", "evaluate")
_FILE = "config.json"
_ABSENT = "(absent)"

# Fields that leave the course of training as it is: a run may be continued with other values of them.
_FREE = ("evaluate", "train.log_every", "train.save_every", "train.keep", "train.sample_every", "train.num_samples",
         "train.steps_per_dispatch", "train.fsdp", "train.max_resident_bytes")  # fmt: skip

Override = tuple[str, str]  # ("train.steps", "500"), as on a command line


def load(path: str, overrides: Iterable[Override] = ()) -> ml_collections.ConfigDict:
  """The config of `path`, complete: every default is written out and every value is checked.

  Args:
    path: "configs/diffusion_digits.py" or "configs/diffusion_digits.py:variant".
    overrides: dotted names with values as Python writes them; what does not parse is a string.

  Raises:
    InputError: no such file, variant, section, field or name, or a value of the wrong type.
  """
  return _finish(_read(path), overrides)


def saved(workdir: str | os.PathLike, overrides: Iterable[Override] = ()) -> ml_collections.ConfigDict:
  """The config of the run in `workdir`, complete.

  Raises:
    InputError: there is no run, or its config cannot be read.
  """
  file = pathlib.Path(workdir) / _FILE
  try:
    raw = json.loads(file.read_text())
  except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
    raise InputError(f"no run in {workdir} (no {_FILE}): train one with --config=... --workdir={workdir}") from None
  except ValueError as e:
    raise InputError(f"{file} cannot be read ({e}): restore it, or train in another --workdir") from None
  if not isinstance(raw, Mapping):
    raise InputError(f"{file} is not a config: restore it, or train in another --workdir")
  return _finish(raw, overrides)


def save(config: ml_collections.ConfigDict, workdir: str | os.PathLike) -> None:
  """Writes `config` where `saved` finds it, all or nothing."""
  writer.write(pathlib.Path(workdir) / _FILE, json.dumps(config.to_dict(), indent=2) + "\n")


def filled(raw: Mapping[str, Any]) -> dict[str, Any]:
  """The fields of a config that was written, and the defaults of those that did not exist yet; unchanged if unknown."""
  try:
    return _complete(dict(raw))
  except InputError:
    return dict(raw)


def exists(workdir: str | os.PathLike) -> bool:
  """Whether `workdir` holds a run's config."""
  return (pathlib.Path(workdir) / _FILE).exists()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """The fields for which a run of `old` cannot go on as `new`, as "field: old -> new".

  More steps, other logging and another evaluation are no obstacle: they leave the steps taken as they were.
  """
  changed = dict(_changes(_plain(old), _plain(new)))
  for part in ("family", "data"):  # of another kind: what it is made of is not worth a line
    if part in changed:
      was, now = (v.get("name", _ABSENT) if isinstance(v, Mapping) else v for v in changed[part])
      return [f"{part}.name: {_spell(was)} -> {_spell(now)}"]
  steps = changed.get("train.steps", (None, None))
  if all(isinstance(n, int) for n in steps) and steps[0] < steps[1]:
    del changed["train.steps"]
  changed = {k: v for k, v in changed.items() if not any(k == f or k.startswith(f + ".") for f in _FREE)}
  return [f"{place}: {_spell(was)} -> {_spell(now)}" for place, (was, now) in changed.items()]


def build(config: ml_collections.ConfigDict) -> tuple[Any, Any]:
  """(data source, family) of a complete config.

  Raises:
    InputError: fields do not fit each other, or there are no such data.
  """
  with one_line("data"):
    source = resolve.build("data", config.data.to_dict())
    spec = source.spec
  with one_line("family"):
    return source, resolve.build("families", config.family.to_dict(), spec=spec)


def section(config: ml_collections.ConfigDict, name: str) -> Any:
  """The options object of section "train" or "evaluate"."""
  return resolve.build("run", {"name": _OPTIONS[name], **config[name].to_dict()})


_OPTIONS = {"train": "train.Train", "evaluate": "evaluate.Evaluate"}


def _read(path: str) -> Any:
  """What `get_config` of a config file returns, as plain data."""
  path, _, variant = path.partition(":")
  file = pathlib.Path(path)
  if not file.is_file():
    options = {*file.parent.glob("*.py"), *pathlib.Path("configs").glob("[!_]*.py")}
    raise InputError(f"no config file {path}: {near(path, map(str, options))}")
  if file.suffix != ".py":
    raise InputError(f"{path} is not a config: those are Python files, as in configs/")
  spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
  module = importlib.util.module_from_spec(spec)
  with one_line(path):
    spec.loader.exec_module(module)
  if not hasattr(module, "get_config"):
    raise InputError(f"{path} defines no get_config(variant=None)")
  variants = getattr(module, "VARIANTS", {})
  if variant and variant not in variants:
    raise InputError(f"{path} has no variant {variant!r}: {near(variant, variants)}")
  with one_line(path):
    config = module.get_config(variant or None)
  if not isinstance(config, ml_collections.ConfigDict | Mapping):
    raise InputError(f"{path}: get_config(variant=None) should return a ConfigDict")
  return config.to_dict() if isinstance(config, ml_collections.ConfigDict) else dict(config)


def _finish(raw: dict[str, Any], overrides: Iterable[Override]) -> ml_collections.ConfigDict:
  for name, text in overrides:
    _override(raw, name.split("."), _parse(text))
  config = ml_collections.ConfigDict(_complete(raw))
  return config.lock()


def _parse(text: str) -> Any:
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def _override(raw: dict[str, Any], path: list[str], value: Any) -> None:
  """Sets raw.a.b.c; a part given by its name alone turns into a mapping with that name."""
  *parents, last = path
  for i, key in enumerate(parents):
    child = raw.get(key) or {}
    child = {"name": child} if isinstance(child, str) else child
    if not isinstance(child, Mapping):
      raise InputError(f"--config.{'.'.join(path)}: {'.'.join(parents[: i + 1])} = {child!r} has no fields")
    raw[key] = dict(child)
    raw = raw[key]
  raw[last] = value


def _complete(raw: dict[str, Any]) -> dict[str, Any]:
  for key in raw:
    if key not in _SECTIONS:
      raise InputError(f"config has no section {key!r}: {near(key, _SECTIONS)}")
  for key in ("data", "family"):
    if key not in raw:
      raise InputError(f"config needs a section {key!r}")
  seed = resolve.check("seed", raw.get("seed", 0), int)
  check_seed("seed", seed)
  return {
    "seed": seed,
    "data": resolve.complete("data", raw["data"], where="data"),
    "family": resolve.complete("families", raw["family"], where="family", given=("spec",)),
    **{key: _options(key, raw.get(key, {})) for key in _OPTIONS},
  }


def _options(key: str, raw: Any) -> dict[str, Any]:
  """A section whose class is known: the name that `resolve` needs is not part of what a config shows."""
  if not isinstance(raw, Mapping):
    raise InputError(f"{key} = {raw!r} should be a mapping")
  if "name" in raw:
    raise InputError(f"{key} has no field 'name'")
  out = resolve.complete("run", {**raw, "name": _OPTIONS[key]}, where=key)
  del out["name"]
  return out


def _changes(old: Any, new: Any, place: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
  """(place, (old, new)) of every field that changed; a part that is another one is a single change."""
  if old == new:
    return
  parts = isinstance(old, Mapping) and isinstance(new, Mapping)
  if not parts or old.get("name") != new.get("name"):
    yield place, (old, new)
    return
  for key in sorted(old | new):
    yield from _changes(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{place}.{key}" if place else key)


def _plain(value: Any) -> Any:
  """`value` as JSON would hold it."""
  if isinstance(value, Mapping):
    return {k: _plain(v) for k, v in value.items()}
  return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _spell(value: Any) -> str:
  """A part as the call that it is: ode.heun(), guidance.classifier_free(weight=2.0)."""
  if not isinstance(value, Mapping):
    return value if value is _ABSENT else repr(tuple(value) if isinstance(value, list) else value)
  arguments = ", ".join(f"{k}={_spell(v)}" for k, v in value.items() if k != "name")
  return f"{value.get('name', '')}({arguments})"
