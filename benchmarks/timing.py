"""Ratios that can be trusted on a machine that is not quiet: both sides in one process, in turn, many times."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp

Work = Callable[[], object]  # does the work once, and returns something that depends on all of it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One line of the table.

  Attributes:
    name: the work.
    ours: seconds, the median of our runs.
    peer_name: who else did it.
    peer: seconds, the median of theirs; None where there is no peer, or it is not installed.
    ratios: their seconds / ours for each pair of runs: above 1 we are faster.
    flops: floating-point operations of the work, as a textbook counts them; 0 where that says nothing.
    dtype: what it computes in; products of float32 are rounded to TF32 where that is JAX's default.
  """

  name: str
  ours: float
  peer_name: str = ""
  peer: float | None = None
  ratios: tuple[float, ...] = ()
  flops: float = 0.0
  dtype: str = "float32"

  @property
  def ratio(self) -> float | None:
    """The median ratio."""
    return statistics.median(self.ratios) if self.ratios else None


def compare(name: str, ours: Work, peer_name: str, peer: Work, *, runs: int = 5, **what: Any) -> Row:
  """Times the two in turn: ours, theirs, ours, theirs, ..., each after a run that does not count.

  As in a training, where step follows step: memory that a virtual machine has had back for the seconds of the other's
  turn takes as long to come again as the work itself.
  """
  pairs = [(_again(ours), _again(peer)) for _ in range(runs)]
  mine, theirs = zip(*pairs, strict=True)
  return Row(
    name=name,
    ours=statistics.median(mine),
    peer_name=peer_name,
    peer=statistics.median(theirs),
    ratios=tuple(b / a for a, b in pairs),
    **what,
  )


def alone(name: str, ours: Work, *, runs: int = 5, note: str = "", **what: Any) -> Row:
  """Times work that has no peer, or whose peer is missing, as `note` says."""
  seconds(ours)
  return Row(name=name, ours=statistics.median(seconds(ours) for _ in range(runs)), peer_name=note, **what)


def _again(work: Work) -> float:
  seconds(work)
  return seconds(work)


def seconds(work: Work) -> float:
  """How long it takes once."""
  start = time.perf_counter()
  jax.block_until_ready(work())
  return time.perf_counter() - start


def matmul_limit(dtype: str) -> float:
  """The most FLOP/s that this machine was seen to reach: the best of several matrix products of arrays of `dtype`."""
  size = 4096 if jax.default_backend() == "cpu" else 16384
  a = jax.random.normal(jax.random.key(0), (size, size), dtype)
  product = jax.jit(jnp.matmul)
  seconds(lambda: product(a, a))
  return 2 * size**3 / min(seconds(lambda: product(a, a)) for _ in range(5))


def textbook_flops(fn: Callable, *args: object) -> float:
  """Multiplications and additions of the convolutions and matrix products in `fn`, by their definitions."""
  return _flops(jax.make_jaxpr(fn)(*args).jaxpr)


def _flops(jaxpr: Any) -> float:
  total = 0.0
  for eqn in jaxpr.eqns:
    out = math.prod(eqn.outvars[0].aval.shape)
    if eqn.primitive.name in ("convolve", "convolve_undifferentiated", "conv_general_dilated"):
      total += 2 * out * math.prod(eqn.invars[1].aval.shape[:-1])
    elif eqn.primitive.name == "dot_general":
      (contracted, _), _ = eqn.params["dimension_numbers"]
      total += 2 * out * math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
    else:
      total += sum(_flops(inner) for inner in jax.extend.core.jaxprs_in_params(eqn.params))
  return total
