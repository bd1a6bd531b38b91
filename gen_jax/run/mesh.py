"""The devices of a run: one mesh with one axis, "data", and what lies on it how."""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gen_jax.errors import InputError, in_short
from gen_jax.run import compile as compiling
from gen_jax.steps import SMALL
from gen_jax.types import PyTree

# Where a launcher says how many processes it started.
_COUNTS = ("JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


def start() -> Mesh:
  """The mesh of all devices, after meeting the other processes where a cluster started several.

  SLURM, Open MPI and Cloud TPUs are recognised by their own variables; elsewhere set JAX_COORDINATOR_ADDRESS
  (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID.

  Raises:
    InputError: JAX_NUM_PROCESSES without the other two, or no number; JAX finds no device of the kind asked for.
  """
  if not jax.distributed.is_initialized() and _is_cluster():
    jax.distributed.initialize(**_explicit())
  check()
  return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def check() -> None:
  """Raises InputError where JAX cannot use its devices, or has none of the kind that JAX_PLATFORMS asks for."""
  try:
    jax.devices()
  except Exception as e:  # of any type
    asked = os.environ.get("JAX_PLATFORMS")
    what = f"the devices of JAX_PLATFORMS={asked}" if asked else "its devices"
    raise InputError(f"JAX cannot use {what} ({in_short(e)}): set JAX_PLATFORMS to others, such as cpu") from e


def local() -> Mesh:
  """The mesh of this process's own devices: for work that every process does by itself."""
  devices = jax.local_devices()
  return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def _is_cluster() -> bool:
  several = any(_number(name) > 1 for name in _COUNTS)
  return several or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def _explicit() -> dict[str, Any]:
  """The arguments that the environment spells out; none where JAX finds them itself."""
  if "JAX_NUM_PROCESSES" not in os.environ:
    return {}
  names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
  missing = [name for name in names if not os.environ.get(name)]
  if missing:
    raise InputError(f"JAX_NUM_PROCESSES is set, so {' and '.join(missing)} must be too")
  address, num, index = names
  return dict(coordinator_address=os.environ[address], num_processes=_number(num), process_id=_number(index))


def _number(name: str) -> int:
  """The value of a variable; 1 where it is not set."""
  value = os.environ.get(name) or "1"
  if not value.isdecimal():
    raise InputError(f"{name}={value} should be a number")
  return int(value)


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device holds the whole array."""
  return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh, axis: int = 0) -> NamedSharding:
  """Each device holds its share of the rows along `axis`."""
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def state_shardings(mesh: Mesh, state: PyTree, *, split: bool) -> PyTree:
  """A sharding per leaf of `state`: whole everywhere, or with `split` the large leaves divided over the devices.

  A leaf is divided along its longest axis that the number of devices divides, so that parameters, their moving average
  and their optimiser state, which have the same shapes, are divided alike.
  """

  def sharding(leaf):
    fitting = [a for a, n in enumerate(leaf.shape) if n % mesh.size == 0]
    if not split or mesh.size == 1 or leaf.size < SMALL or not fitting:
      return replicated(mesh)
    return rows(mesh, max(fitting, key=lambda a: leaf.shape[a]))

  return jax.tree.map(sharding, state)


def divided(fn: Callable) -> Callable:
  """`fn`, compiled, each of this process's devices making its share of the rows of the result [B, ...].

  B is any number: the last device may have fewer rows. What it is called with goes `everywhere`.
  """
  mesh = local()
  shared = lambda *args: jax.lax.with_sharding_constraint(fn(*args), rows(mesh))
  return compiling.jit(shared, out_shardings=replicated(mesh))  # which, unlike what is inside, has to be even


def everywhere(tree: PyTree) -> PyTree:
  """`tree`, whole on each of this process's devices."""
  return jax.device_put(tree, replicated(local()))


def fetch(mesh: Mesh, tree: PyTree) -> PyTree:
  """`tree`, whole, as every process can use it by itself."""
  whole = jax.device_put(tree, replicated(mesh))
  return whole if jax.process_count() == 1 else jax.tree.map(np.asarray, whole)


def agree(value: float) -> float:
  """The largest `value` of all processes: what they must decide alike."""
  if jax.process_count() == 1:
    return value
  from jax.experimental import multihost_utils

  return float(np.max(multihost_utils.process_allgather(np.float32(value))))


def barrier(name: str) -> None:
  """Waits for every process."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)


def on_main(work: Callable[[], None]) -> None:
  """Does `work` in the main process; where that fails, every process does, rather than waiting for it.

  Raises:
    InputError: in the other processes.
    Exception: in the main one, what `work` raises.
  """
  error = None
  if is_main():
    try:
      work()
    except Exception as e:
      error = e
  if agree(error is not None):
    raise error or InputError("the first process could not go on: it says why")


def is_main() -> bool:
  """Whether this process writes the files and speaks to the terminal."""
  return jax.process_index() == 0
