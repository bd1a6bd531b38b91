"""Opens a finished run, or one that is still going: its newest good checkpoint."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from gen_jax.errors import InputError, one_line
from gen_jax.family import Family
from gen_jax.ops import host
from gen_jax.run import checkpoint
from gen_jax.run import config as configs
from gen_jax.types import PyTree, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
  """A model with its parameters.

  Attributes:
    family: the model.
    source: the data that it was trained on.
    params: its parameters: the moving average where the run kept one, unless raw ones were asked for.
    config: the run's complete config.
    workdir: where it lives.
    step: how many steps it was trained for.
    raw: whether `params` are the raw parameters rather than their moving average.
    overrides: what of the config is not as it was trained, as "field: old -> new".
  """

  family: Family
  source: Any
  params: PyTree
  config: ml_collections.ConfigDict
  workdir: pathlib.Path
  step: int
  raw: bool = False
  overrides: tuple[str, ...] = ()


def load(
  workdir: str | os.PathLike,
  raw: bool = False,
  *,
  config: ml_collections.ConfigDict | None = None,
  overrides: Iterable[configs.Override] = (),
) -> Trained:
  """The run in `workdir`.

  Args:
    workdir: the directory that it was trained in.
    raw: whether to take the raw parameters rather than their moving average.
    config: a complete config to use instead of the saved one, for another sampler or evaluation.
    overrides: changes to the saved config.

  Raises:
    InputError: there is no run, or no checkpoint that can be used.
  """
  workdir = pathlib.Path(os.path.expanduser(workdir))
  written = configs.saved(workdir)
  config = configs.saved(workdir, overrides) if config is None else config
  source, family = configs.build(config)
  with one_line("family"):
    shapes = jax.eval_shape(family.init, jax.random.key(0), _example(source.spec, config.train.batch_size))
  # On the host: of a state that was divided over devices, one may have room for no more than the parameters.
  like = checkpoint.abstract(shapes, jax.sharding.SingleDeviceSharding(host.device()))
  differing = configs.differences(written.to_dict(), config.to_dict())
  try:
    found = checkpoint.Checkpoints(workdir, written).restore(like, warn=(lambda _: None) if differing else print)
  except InputError:
    if not differing:
      raise
    raise InputError(
      f"no checkpoint in {workdir} fits a model that is not as it was trained ({'; '.join(differing)}): leave that out"
    ) from None
  if found is None:
    raise InputError(f"no checkpoint in {workdir} yet: give the command that trains it again")
  if differing:
    print(f"note: not as it was trained: {'; '.join(differing)}")
  step, state = found
  raw = raw or state.ema is None
  params = jax.device_put(state.params if raw else state.ema, jax.local_devices()[0])
  made = dict(config=config, workdir=workdir, step=step, raw=raw, overrides=tuple(differing))
  return Trained(family=family, source=source, params=params, **made)


def untrained(config: str) -> Trained:
  """The model of a config before its first step, to try out what needs a run before there is one.

  Args:
    config: a config file, with a variant or without: "configs/diffusion_digits.py:smoke".

  Raises:
    InputError: there is no such config, or it is wrong.
  """
  complete = configs.load(config)
  source, family = configs.build(complete)
  batch = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), _example(source.spec, complete.train.batch_size))
  state = jax.jit(family.init)(jax.random.key(complete.seed), batch)
  made = dict(config=complete, workdir=pathlib.Path(), step=0, raw=state.ema is None)
  return Trained(family=family, source=source, params=state.eval_params, **made)


def _example(spec: Spec, batch_size: int) -> PyTree:
  """The shapes of a batch."""
  batch = {"x": jax.ShapeDtypeStruct((batch_size, *spec.shape), jnp.float32)}
  return batch | {k: jax.ShapeDtypeStruct((batch_size, *e.shape), e.dtype) for k, e in spec.entries.items()}
