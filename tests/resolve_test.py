"""Configs become objects, and mistakes in them become one clear line."""

import abc
import dataclasses
import functools
import sys
import types
import typing
from collections.abc import Callable

import flax.linen as nn
import pytest

from gen_jax import resolve
from gen_jax.errors import InputError
from gen_jax.steps import Optimizer


class Net(nn.Module):
  out: int = 1
  width: int = 4
  multipliers: tuple[int, ...] = (1, 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
  spec: int
  net: nn.Module = resolve.part("nets", "shed.Net", width=8)
  optimizer: Optimizer = resolve.part("steps", "Optimizer", lr=3e-4)
  ema_decay: float | None = None
  flag: bool = False
  size: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
  first: Callable[..., Model] = resolve.part("families", given=("spec",))
  second: Callable[..., Model] = resolve.part("families", "shed.Model", given=("spec",), ema_decay=0.5)


def scaled(factor: float = 2.0):
  return ("scaled", factor)


READY = Net(width=99)


@pytest.fixture(autouse=True)
def shed(monkeypatch):
  """A file called `shed` in two rooms."""
  nets, families = types.ModuleType("gen_jax.nets.shed"), types.ModuleType("gen_jax.families.shed")
  nets.Net, nets.scaled, nets.READY = Net, scaled, READY
  families.Model, families.Pair = Model, Pair
  monkeypatch.setitem(sys.modules, nets.__name__, nets)
  monkeypatch.setitem(sys.modules, families.__name__, families)
  for of_nets in (Net, scaled):
    monkeypatch.setattr(of_nets, "__module__", nets.__name__)
  for family in (Model, Pair):
    monkeypatch.setattr(family, "__module__", families.__name__)
  return nets


def test_complete_writes_out_every_default():
  spec = resolve.complete("families", {"name": "shed.Model", "net": {"multipliers": [1, 2, 4]}}, given=("spec",))
  assert spec["net"] == {"name": "shed.Net", "out": 1, "width": 8, "multipliers": (1, 2, 4)}
  assert spec["optimizer"]["lr"] == 3e-4
  assert spec["ema_decay"] is None
  assert "spec" not in spec
  assert resolve.complete("families", spec, given=("spec",)) == spec, "completing twice changes nothing"


def test_build_makes_parts_first():
  model = resolve.build("families", {"name": "shed.Model", "net": "shed.Net", "ema_decay": 1}, spec=7)
  assert model.spec == 7
  assert model.net.width == 4, "a name alone means the part's own defaults, not the field's"
  assert model.ema_decay == 1.0 and isinstance(model.ema_decay, float)
  assert Model(spec=7).net.width == 8, "Python code gets the same default parts"
  assert resolve.build("nets", READY) is READY


def test_functions_are_called_and_ready_objects_are_not():
  assert resolve.build("nets", "shed.scaled") == ("scaled", 2.0)
  assert resolve.build("nets", {"name": "shed.scaled", "factor": 3}) == ("scaled", 3.0)
  assert resolve.build("nets", "shed.READY") is READY
  with pytest.raises(InputError, match="no field 'width'"):
    resolve.build("nets", {"name": "shed.READY", "width": 3})


def test_names_are_what_a_file_defines_to_be_used(shed):
  """Whatever it is made with; not what the file imports, nor what is there to be built on."""

  class Base(abc.ABC):
    @abc.abstractmethod
    def method(self):
      """Not there yet."""

  class Shape(typing.Protocol):
    width: int

  def cached():
    return 3

  for made in (Base, Shape, cached):
    made.__module__ = shed.__name__
  shed.partial, shed.cached = functools.partial(scaled, 2.0), functools.cache(cached)
  for name in ("partial", "cached"):
    assert resolve.resolve("nets", f"shed.{name}") is getattr(shed, name)
  shed.Base, shed.Shape, shed.InputError, shed.functools = Base, Shape, InputError, functools
  for name in ("Base", "Shape", "InputError", "functools", "_hidden", "__name__"):
    with pytest.raises(InputError, match=f"no 'shed.{name}' in nets"):
      resolve.resolve("nets", f"shed.{name}")


def test_a_part_of_another_class_is_refused():
  with pytest.raises(InputError, match=r"net: 'shed.scaled' is no Module"):
    resolve.build("families", {"name": "shed.Model", "net": "shed.scaled"}, spec=7)


@pytest.mark.parametrize(
  "spec, message",
  [
    ({"name": "shed.Model", "nett": 1}, "no field 'nett': did you mean 'net'"),
    ({"name": "shed.Model", "net": {"witdh": 1}}, r"families.net \(shed.Net\) has no field 'witdh'.*'width'"),
    ({"name": "shed.Model", "optimizer": {"lr": "high"}}, "families.optimizer.lr = 'high' should be float"),
    ({"name": "shed.Model", "optimizer": {"warmup": 1.5}}, "warmup = 1.5 should be int"),
    ({"name": "shed.Model", "optimizer": {"warmup": True}}, "warmup = True should be int"),
    ({"name": "shed.Model", "optimizer": {"rule": "adm"}}, "did you mean 'adam'"),
    ({"name": "shed.Model", "ema_decay": "x"}, r"ema_decay = 'x' should be float \| None"),
    ({"name": "shed.Model", "flag": 1}, "flag = 1 should be bool"),
    ({"name": "shed.Model", "net": {"multipliers": 3}}, r'multipliers = 3 should be tuple.*write "\(3,\)"'),
    ({"name": "shed.Model", "size": 3}, r'size = 3 should be tuple.* \| None: write "\(3,\)"'),
    ({"name": "shed.Model", "net": {"multipliers": [1, "a"]}}, "multipliers = 'a' should be int"),
    ("shed.Modle", "did you mean 'shed.Model'"),
    ("GaN", "did you mean 'gan.GAN'"),
    ({"net": "shed.Net"}, "needs a name"),
  ],
)
def test_mistakes_are_named_with_their_remedy(spec, message):
  with pytest.raises(InputError, match=message) as e:
    resolve.build("families", spec, spec=7)
  assert "\n" not in str(e.value)


def test_a_broken_import_inside_a_room_is_not_mistaken_for_a_typo(tmp_path, monkeypatch):
  import gen_jax.nets

  (tmp_path / "leaky.py").write_text("import a_package_that_is_not_installed\n")
  monkeypatch.setattr(gen_jax.nets, "__path__", [str(tmp_path)])
  with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_installed"):
    resolve.resolve("nets", "leaky.Net")


def test_a_part_that_is_given_something_arrives_as_a_function_of_it():
  spec = {"name": "shed.Pair", "first": {"name": "shed.Model", "net": {"width": 5}}}
  full = resolve.complete("families", spec)
  assert full["first"]["net"]["width"] == 5 and full["second"]["ema_decay"] == 0.5
  assert "spec" not in full["first"] and resolve.complete("families", full) == full
  for pair in (resolve.build("families", full), Pair(first=resolve.build("families", spec).first)):
    assert pair.first(spec=3) == Model(spec=3, net=Net(width=5))
    assert pair.second(spec=4) == Model(spec=4, ema_decay=0.5)
  ready = lambda spec: Model(spec=spec, flag=True)
  assert resolve.build("families", {"name": "shed.Pair", "first": ready}).first is ready
  with pytest.raises(InputError, match=r"families.first \(shed.Model\) has no field 'spec'"):
    resolve.build("families", {"name": "shed.Pair", "first": {"name": "shed.Model", "spec": 3}})
  with pytest.raises(InputError, match=r"families.first.optimizer.lr = 'high' should be float"):
    resolve.build("families", {"name": "shed.Pair", "first": {"name": "shed.Model", "optimizer": {"lr": "high"}}})


def test_given_fields_are_not_for_configs():
  with pytest.raises(InputError, match="no field 'spec'"):
    resolve.build("families", {"name": "shed.Model", "spec": 1}, spec=7)


def test_what_a_part_refuses_is_said_with_its_place():
  with pytest.raises(InputError, match=r"^optimizer: lr = -1\.0 should be at least 0"):
    resolve.build("families", {"name": "shed.Model", "optimizer": {"lr": -1.0}}, spec=7)
