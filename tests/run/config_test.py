"""Configs are complete, overridden as on a command line, and a typo is named."""

import importlib.util
import json
import pathlib

import pytest

from gen_jax.errors import InputError
from gen_jax.run import config as configs

ROOT = pathlib.Path(__file__).parents[2]


def test_defaults_are_written_out(load):
  config = load()
  assert config.train.keep == 2
  assert config.family.encoder.name == "mlp.MLP"  # a part of which the file gave some arguments only
  assert config.family.optimizer.to_dict()["b2"] == 0.999
  assert config.seed == 0
  with pytest.raises((KeyError, AttributeError)):
    config.train.stpes = 3


@pytest.mark.parametrize(
  "name, text, value",
  [
    ("train.steps", "500", 500),
    ("family.optimizer.lr", "1", 1.0),
    ("family.ema_decay", "None", None),
    ("family.optimizer.schedule", "constant", "constant"),
    ("train.fsdp", "True", True),
    ("train.steps_per_dispatch", "auto", "auto"),
    ("family.likelihood", "likelihoods.Gaussian", {"name": "likelihoods.Gaussian"}),
  ],
)
def test_override(load, name, text, value):
  got = load({name: text})
  for key in name.split("."):
    got = got[key]
  if isinstance(value, dict):
    got = {"name": got["name"]}
  assert got == value and type(got) is type(value)


def test_override_below_a_name(tmp_path):
  path = tmp_path / "c.py"
  path.write_text(
    "def get_config(variant=None):\n  return dict(data='digits.Digits', family='vae.VAE', train=dict(steps=1))\n"
  )
  config = configs.load(
    str(path), [("family.latent", "3"), ("family.encoder.width", "7"), ("data.name", "digits.Digits")]
  )
  assert (config.family.latent, config.family.encoder.width) == (3, 7)


@pytest.mark.parametrize(
  "name, text, message",
  [
    ("trian.steps", "5", "did you mean 'train'"),
    ("train.stpes", "5", "did you mean 'steps'"),
    ("train.name", "x", "train has no field 'name'"),
    ("train.steps", "many", "train.steps = 'many' should be int"),
    ("train.steps", "1.5", "train.steps = 1.5 should be int"),
    ("train.steps.more", "1", "train.steps = 60 has no fields"),
    ("family", "vae.VEA", "did you mean 'vae.VAE'"),
    ("family.name", "vea.VAE", "did you mean 'vae.VAE'"),
    ("family.optimizer.rule", "loin", "did you mean 'lion'"),
    ("family.encoder.widht", "5", "did you mean 'width'"),
    ("data", "sinthetic.Ring", "did you mean 'synthetic.Ring'"),
    ("evaluate.nmu", "5", "did you mean 'num'"),
    ("seed", "zero", "seed = 'zero' should be int"),
    ("train", "5", "train = 5 should be a mapping"),
  ],
)
def test_typos(load, name, text, message):
  with pytest.raises(InputError) as e:
    load({name: text})
  assert message in str(e.value) and "\n" not in str(e.value)


def test_options_are_checked(load):
  with pytest.raises(InputError, match=r"train\.batch_size = 0 should be at least 1"):
    configs.section(load({"train.batch_size": "0"}), "train")


def test_files(tmp_path, config_file):
  with pytest.raises(InputError, match=r"did you mean.*ring\.py"):
    configs.load(str(tmp_path / "rign.py"))


@pytest.mark.parametrize(
  "text, says",
  [
    ("", "defines no get_config"),
    ("def get_config(:\n", "bad.py, line 1"),
    ("import nonesuch", "bad.py: ModuleNotFoundError: No module named 'nonesuch'"),
    ("def get_config(variant=None):\n  return missing", "bad.py: NameError"),
    ("open('captions.txt')", "bad.py: FileNotFoundError"),
  ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, text, says):
  (tmp_path / "bad.py").write_text(text)
  with pytest.raises(InputError, match=says):
    configs.load(str(tmp_path / "bad.py"))


def test_saved_config_is_the_same(tmp_path, load):
  config = load()
  configs.save(config, tmp_path)
  assert configs.saved(tmp_path).to_dict() == config.to_dict()
  assert configs.differences(json.loads((tmp_path / "config.json").read_text()), config.to_dict()) == []
  assert configs.saved(tmp_path, [("train.steps", "99")]).train.steps == 99


def test_unreadable_saved_config(tmp_path):
  with pytest.raises(InputError, match="no run in"):
    configs.saved(tmp_path)
  (tmp_path / "config.json").write_text('{"seed": 0, ')
  with pytest.raises(InputError, match=r"config.json cannot be read"):
    configs.saved(tmp_path)


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("[a-z]*.py")), ids=lambda file: file.stem)
def test_every_variant_of_every_config_is_complete(file):
  spec = importlib.util.spec_from_file_location(file.stem, file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  for variant in module.VARIANTS:
    configs.load(f"{file}:{variant}")


def test_differences(load):
  old = load().to_dict()
  free = {"train.steps": "61", "train.log_every": "1", "evaluate.num": "70", "train.keep": "9", "train.fsdp": "True"}
  assert configs.differences(old, load(free).to_dict()) == []
  assert configs.differences(old, load({"train.steps": "59"}).to_dict()) == ["train.steps: 60 -> 59"]
  bound = {"train.batch_size": "31", "family.optimizer.decay_steps": "9"}
  assert configs.differences(old, load(bound).to_dict()) == [
    "family.optimizer.decay_steps: None -> 9",
    "train.batch_size: 32 -> 31",
  ]
  other = load({"family.encoder": "conv.Encoder", "seed": "4"}).to_dict()
  encoder, seed = configs.differences(old, other)
  assert encoder.startswith("family.encoder: mlp.MLP(") and " -> conv.Encoder(" in encoder
  assert seed == "seed: 0 -> 4"
  assert configs.differences(old, {**old, "family": {"name": "gan.GAN"}}) == ["family.name: 'vae.VAE' -> 'gan.GAN'"]
  damaged = configs.differences({k: v for k, v in old.items() if k != "family"}, old)
  assert damaged == ["family.name: (absent) -> 'vae.VAE'"]
