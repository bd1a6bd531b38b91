"""Turns what a config says into objects.

A *spec* is a name, or a mapping with a `name` and arguments. Names are `file.attr` inside a fixed room:
`"ode.heun"` in the room `solvers` is `gen_jax.solvers.ode.heun`. Classes and functions are called with the arguments;
anything else (a ready-made `Solver`) is taken as it is. A dataclass says which of its fields are specs with `part`:

    solver: Solver = part("solvers", "semilinear.ddim")

so that a config writes `solver="ode.heun"` or `solver=dict(name="sde.churn", s_noise=1.003)`, Python code passes the
object, and a new file in the room needs no registration anywhere. A part that needs more than a config can say, such as
the family that models what another one encodes, is declared with what is `given` to it later:

    prior: Callable[..., Family] = part("families", given=("spec",))

and arrives as a function of just that.
"""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Mapping
from typing import Any

from gen_jax.errors import InputError, near

_FROM_FLAX = ("parent", "name")  # what flax adds to the fields of every module


def part(room: str, default: Any = dataclasses.MISSING, *, given: tuple[str, ...] = (), **kwargs: Any) -> Any:
  """A dataclass field that holds something from `room`; `default` is its name, or None for nothing, `kwargs` arguments.

  Where there are arguments that its owner gives it, the field holds a function of those.
  """
  metadata = {"room": room, "given": given}
  if default is dataclasses.MISSING:
    return dataclasses.field(metadata=metadata)
  if default is None:
    return dataclasses.field(default=None, metadata=metadata)
  spec = {"name": default, **kwargs}
  return dataclasses.field(default_factory=lambda: _part(room, spec, given), metadata={**metadata, "spec": spec})


def resolve(room: str, name: str) -> Any:
  """The object called `name` in `room`.

  Raises:
    InputError: nothing has that name; the message has the near miss.
  """
  if not isinstance(name, str):
    raise InputError(f"{name!r} should be a name in {room}")
  file, _, attr = name.rpartition(".")
  package = f"gen_jax.{room}"
  path = f"{package}.{file}" if file else package
  try:
    module = importlib.import_module(path)
  except ModuleNotFoundError as e:
    if not f"{path}.".startswith(f"{e.name}."):  # something that the file imports
      raise
    raise InputError(f"no {name!r} in {room}: {near(name, _names(package))}") from None
  if attr not in (public := _public(module)):
    options = [f"{file}.{a}" if file else a for a in public]
    raise InputError(f"no {name!r} in {room}: {near(name, options or _names(package))}")
  return getattr(module, attr)


def build(room: str, spec: Any, /, **given: Any) -> Any:
  """The object that `spec` describes, its parts built first; `given` are arguments that no config writes.

  Raises:
    InputError: an unknown name or field, or a value of the wrong type.
  """
  if not isinstance(spec, str | Mapping):
    return spec  # already an object
  spec = complete(room, spec, given=tuple(given))
  target = resolve(room, spec.pop("name"))
  if _is_value(target):
    return target
  fields = _fields(target)
  arguments = {k: _placed(k, f, spec[k]) if f.room else _plain(spec[k]) for k, f in fields.items() if k in spec}
  return target(**arguments, **given)


def _placed(name: str, field: "_Field", spec: Any) -> Any:
  """`_part`, whose errors say of which field they are, and where the field says of which class, of that class."""
  try:
    out = _part(field.room, spec, field.given)
  except InputError as e:
    raise InputError(f"{name}: {e}") from e
  if isinstance(spec, Mapping) and _is_concrete(field.hint) and not field.given and not isinstance(out, field.hint):
    raise InputError(f"{name}: {spec['name']!r} is no {field.hint.__name__}")
  return out


def _part(room: str, spec: Any, given: tuple[str, ...]) -> Any:
  """What a field holds: the object, or a function of what it is given later that makes it."""
  return functools.partial(build, room, spec) if given and isinstance(spec, str | Mapping) else build(room, spec)


def complete(room: str, spec: Any, *, where: str = "", given: tuple[str, ...] = ()) -> dict[str, Any]:
  """`spec` as a plain dict with every default written out, checked.

  Args:
    room: the room that it names something in.
    spec: a name or a mapping.
    where: its place in the config, for messages: "family.net".
    given: fields that are supplied at construction rather than by a config.

  Raises:
    InputError: an unknown name or field, a missing one, or a value of the wrong type.
  """
  where = where or room
  if not isinstance(spec, str | Mapping):
    raise InputError(f"{where} = {spec!r} should be a name or a mapping with a name")
  spec = {"name": spec} if isinstance(spec, str) else dict(spec)
  if "name" not in spec:
    raise InputError(f"{where} needs a name")
  try:
    target = resolve(room, spec["name"])
  except InputError as e:
    raise InputError(f"{where}: {e}") from None
  fields = {} if _is_value(target) else {k: f for k, f in _fields(target).items() if k not in given}
  for key in spec:
    if key != "name" and key not in fields:
      raise InputError(f"{where} ({spec['name']}) has no field {key!r}: {near(key, fields)}")
  out = {"name": spec["name"]}
  for key, field in fields.items():
    place = f"{where}.{key}"
    value = spec.get(key, field.default)
    if value is dataclasses.MISSING:
      raise InputError(f"{place} has no default: set it")
    if field.room and isinstance(value, Mapping) and "name" not in value and isinstance(field.default, Mapping):
      value = {**field.default, **value}  # some arguments of the default part
    if field.room and isinstance(value, str | Mapping | bool | int | float | list | tuple):
      out[key] = complete(field.room, value, where=place, given=field.given)
    elif field.room and value is None and field.hint is not Any and types.NoneType not in typing.get_args(field.hint):
      raise InputError(f"{place} = None should be a name or a mapping with a name")
    else:
      out[key] = check(place, value, field.hint)
  return out


def check(place: str, value: Any, hint: Any) -> Any:
  """`value`, if the type `hint` admits it; lists become tuples and whole numbers floats where those are wanted.

  Raises:
    InputError: it does not.
  """
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if origin in (typing.Union, types.UnionType):
    for option in args:
      try:
        return check(place, value, option)
      except InputError:
        continue
    raise _wrong(place, value, hint, args)
  if origin is typing.Literal:
    if value not in args:
      raise InputError(f"{place} = {value!r}: {near(value, map(str, args))}")
    return value
  kind = origin or hint
  if kind is float and isinstance(value, int) and not isinstance(value, bool):
    return float(value)
  if kind is tuple and isinstance(value, list | tuple):
    return tuple(check(place, v, args[0]) for v in value) if args else tuple(value)
  if kind is type(None):
    kind = types.NoneType
  wrong = kind in (int, float, str, bool, tuple, types.NoneType) and not isinstance(value, kind)
  if wrong or (kind is int and isinstance(value, bool)):
    raise _wrong(place, value, hint, (hint,))
  return value


def _wrong(place: str, value: Any, hint: Any, options: tuple[Any, ...]) -> InputError:
  """What to say of a value that is of none of the types `options`, which `hint` admits."""
  listed = any(tuple in (option, typing.get_origin(option)) for option in options)
  remedy = f': write "({value!r},)"' if listed else ""  # quoted, for a shell
  return InputError(f"{place} = {value!r} should be {_spell(hint)}{remedy}")


@dataclasses.dataclass(frozen=True)
class _Field:
  default: Any
  hint: Any
  room: str | None
  given: tuple[str, ...]


def _fields(target: Any) -> dict[str, _Field]:
  """The arguments of a class or function, in order, as a config may write them."""
  declared = {f.name: f for f in dataclasses.fields(target)} if dataclasses.is_dataclass(target) else {}
  hints = typing.get_type_hints(target)
  out = {}
  for name, p in inspect.signature(target).parameters.items():
    if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) or (name in _FROM_FLAX and _is_module(target)):
      continue
    meta = declared[name].metadata if name in declared else {}
    default = dataclasses.MISSING if p.default is p.empty else p.default
    default = meta.get("spec", default)
    out[name] = _Field(default, hints.get(name, Any), meta.get("room"), meta.get("given", ()))
  return out


def _is_concrete(hint: Any) -> bool:
  """Whether a hint is a class that has instances of its own."""
  return inspect.isclass(hint) and hint is not Any and not getattr(hint, "_is_protocol", False)


def _is_module(target: Any) -> bool:
  return inspect.isclass(target) and any(base.__module__.startswith("flax.linen") for base in target.__mro__)


def _is_value(target: Any) -> bool:
  """Whether a name stands for a finished object rather than for something to call."""
  return not inspect.isclass(target) and not inspect.isfunction(target)


def _names(package: str) -> list[str]:
  """Every public name in a room, as configs write them."""
  room = importlib.import_module(package)
  if not hasattr(room, "__path__"):
    return _public(room)
  files = [m.name for m in pkgutil.iter_modules(room.__path__)]
  return [f"{f}.{a}" for f in files for a in _public(importlib.import_module(f"{package}.{f}"))]


def _public(module: Any) -> list[str]:
  """The names that a module defines itself: classes, functions, and ready-made objects of the house's own types.

  Not those that are there to be built on: abstract classes and protocols.
  """

  def mine(v):
    if inspect.isclass(v) and (inspect.isabstract(v) or getattr(v, "_is_protocol", False)):
      return False
    made = isinstance(v, functools.partial) or type(v).__module__.startswith("gen_jax.")
    return made or (callable(v) and getattr(v, "__module__", None) == module.__name__)

  return [n for n, v in vars(module).items() if not n.startswith("_") and mine(v)]


def _plain(value: Any) -> Any:
  return tuple(_plain(v) for v in value) if isinstance(value, list | tuple) else value


def _spell(hint: Any) -> str:
  return getattr(hint, "__name__", None) if not typing.get_args(hint) else str(hint).replace("NoneType", "None")
