"""What every generative family gives the rest of the house.

A family is a frozen, keyword-only dataclass. Its fields are its configuration, with their defaults; its methods are
pure functions. The loop compiles `step`, the sampler compiles `sample`, and neither knows which family it runs.
"""

from typing import Protocol, runtime_checkable

import flax
import jax

from gen_jax.errors import InputError, near
from gen_jax.types import Array, Batch, Cond, Entry, Key, Metrics, PyTree, Spec


@flax.struct.dataclass
class State:
  """Everything that a run needs to go on: exactly what is checkpointed.

  Attributes:
    step: int32 scalar, the number of steps taken.
    params: what is trained; what `sample` and every capability read.
    opt: optimiser state, in whatever shape the family's own `step` keeps it.
    ema: moving average of `params`, of the same structure, or None.
    extra: whatever else a method carries: chains, codebook averages, a teacher, a curriculum.
  """

  step: Array
  params: PyTree
  opt: PyTree
  ema: PyTree = None
  extra: PyTree = flax.struct.field(default_factory=dict)

  @property
  def eval_params(self) -> PyTree:
    """The parameters to sample and score with: the moving average where there is one."""
    return self.params if self.ema is None else self.ema


class Family(Protocol):
  """The contract.

  Attributes:
    spec: the data that it models.
    conditions: names of the batch entries that it is conditioned on, such as ("label",); () where unconditional.
    evaluations: network evaluations that `sample` spends on one image; None where an adaptive solver decides.
  """

  spec: Spec
  conditions: tuple[str, ...]

  @property
  def evaluations(self) -> int | None: ...

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step; reads only the shapes of `batch`, unless the method says otherwise."""

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One training step: pure, not compiled. Every metric is a scalar; the first one is what a plot shows."""

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples [num, *spec.shape]; `cond` holds one row per sample for each of `conditions`."""


@runtime_checkable
class HasLogProb(Protocol):
  """Likelihoods that are no bounds."""

  def estimator(self) -> str:
    """The name of how `log_prob` takes them, such as "exact"."""

  def log_prob(self, key: Key, params: PyTree, x: Array, cond: Cond = None) -> Array:
    """log p(x), [B] nats."""


@runtime_checkable
class HasBound(Protocol):
  """Lower bounds on likelihoods."""

  def bound(self, num: int = 1) -> str:
    """The name of what `log_prob_bound` gives for `num` draws, such as "ELBO" or "IWAE-5000"."""

  def log_prob_bound(self, key: Key, params: PyTree, x: Array, cond: Cond = None, num: int = 1) -> Array:
    """A lower bound on log p(x), [B] nats, from `num` draws an example: tighter or less noisy as `num` grows."""


@runtime_checkable
class HasDenoiser(Protocol):
  """The expectation of the data given a noisy version of it."""

  def denoiser(self, params: PyTree, cond: Cond = None):
    """denoise(t, xt) -> x0, with t a scalar or [B] and xt [B, *shape]."""


@runtime_checkable
class HasLatents(Protocol):
  """Codes."""

  def encode(self, key: Key, params: PyTree, x: Array) -> Array:
    """A code of x, [B, ...]: a vector, or a grid of vectors."""

  def decode(self, key: Key, params: PyTree, z: Array) -> Array:
    """The data of a code, [B, *shape]."""


@runtime_checkable
class HasReport(Protocol):
  """Numbers that no other family has."""

  def report(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Metrics:
    """Scalars and vectors by name, from `num` draws; `cond` as for `sample`."""


def count(params: PyTree) -> int:
  """Number of scalars in a tree."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def entries(spec: Spec, conditions: tuple[str, ...]) -> tuple[Entry, ...]:
  """The entries of the data that `conditions` name: what a network is conditioned on.

  Raises:
    InputError: the data have no such entry.
  """
  for name in conditions:
    if name not in spec.entries:
      raise InputError(f"conditions: these data have no {name!r}: {near(name, spec.entries)}")
  return tuple(spec.entries[name] for name in conditions)
