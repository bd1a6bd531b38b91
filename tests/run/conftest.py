"""A small run, and the command that makes it."""

import os
import pathlib
import subprocess
import sys

import pytest

from gen_jax.run import config as configs

ROOT = pathlib.Path(__file__).parents[2]

CONFIG = '''
"""A VAE of points on a ring."""

from ml_collections import ConfigDict


def get_config(variant=None):
  return ConfigDict(dict(
    data=dict(name="synthetic.Ring", num_train=1000, num_test=100),
    family=dict(name="vae.VAE", encoder=dict(width=32), decoder=dict(width=32), latent=4, ema_decay=0.99),
    train=dict(steps=60, batch_size=32, steps_per_dispatch=4, log_every=5, save_every=10, num_samples=8),
    evaluate=dict(num=64, likelihood_num=64),
  ))
'''


@pytest.fixture
def config_file(tmp_path):
  path = tmp_path / "ring.py"
  path.write_text(CONFIG)
  return path


@pytest.fixture
def load(config_file):
  """load(**{"train.steps": "9"}) -> the config, overridden."""
  return lambda overrides=(): configs.load(str(config_file), dict(overrides).items())


@pytest.fixture
def launch(config_file):
  """launch(workdir, *flags, **environment) -> a started process."""

  def start(workdir, *flags, **environment):
    command = [sys.executable, str(ROOT / "launch.py"), f"--config={config_file}", f"--workdir={workdir}", *flags]
    env = os.environ | environment
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

  return start


@pytest.fixture
def finish(launch):
  """finish(workdir, *flags, **environment) -> what a command that ran to its end printed."""

  def run(workdir, *flags, **environment):
    process = launch(workdir, *flags, **environment)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out

  return run
