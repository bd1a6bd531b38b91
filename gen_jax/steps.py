"""Gradient descent as every family uses it: the optimiser of a config, and the step for families with one loss."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from gen_jax.errors import InputError, near, require
from gen_jax.family import State
from gen_jax.types import Array, Batch, Key, Metrics, PyTree

# loss(params, state, key, batch) -> (value, (metrics, extra))
Loss = Callable[[PyTree, State, Key, Batch], tuple[Array, tuple[Metrics, PyTree]]]

# Arrays with fewer entries are not worth a sum of their own, nor dividing over devices.
SMALL = 2**14


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
  """An optax optimiser with clipping and a learning-rate schedule.

  Attributes:
    rule: the update rule.
    lr: peak learning rate.
    b1, b2, eps: Adam's constants (b1 is the momentum of "sgd").
    weight_decay: decoupled weight decay, for "adamw" and "lion".
    clip: largest global norm of the gradient; None for no clipping.
    warmup: steps of linear warm-up.
    schedule: what the learning rate does after warm-up; "cosine" and "linear" reach 0 at `decay_steps`.
    decay_steps: total number of steps of the schedule, warm-up included.
    unit: names of the parameters that every step brings back to a root mean square of 1 for each entry of their last
      axis: those of layers that use their direction alone, which would otherwise grow (arXiv:2312.02696, eq. 66).
  """

  rule: Literal["adam", "adamw", "radam", "lion", "sgd", "adamax"] = "adam"
  lr: float = 1e-3
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  weight_decay: float = 0.0
  clip: float | None = None
  warmup: int = 0
  schedule: Literal["constant", "cosine", "linear"] = "constant"
  decay_steps: int | None = None
  unit: tuple[str, ...] = ()

  def __post_init__(self):
    for name in ("eps", "clip", "decay_steps"):
      value = getattr(self, name)
      require(**{name: (value, value is None or 0 < value < math.inf, "positive")})
    for name in ("lr", "warmup", "weight_decay"):
      require(**{name: (getattr(self, name), 0 <= getattr(self, name) < math.inf, "at least 0")})
    for name in ("b1", "b2"):
      require(**{name: (getattr(self, name), 0 <= getattr(self, name) < 1, "in [0, 1)")})
    decayed = not self.weight_decay or self.rule in ("adamw", "lion")
    require(weight_decay=(self.weight_decay, decayed, f"0 with rule = {self.rule!r}: adamw and lion decay weights"))
    if self.schedule == "constant":
      return
    if self.decay_steps is None:
      raise InputError(f"schedule = {self.schedule!r} needs decay_steps, its length in steps")
    require(decay_steps=(self.decay_steps, self.decay_steps > self.warmup, f"more than warmup = {self.warmup}"))

  @functools.cached_property
  def tx(self) -> optax.GradientTransformation:
    """The optax transformation."""
    betas = dict(b1=self.b1, b2=self.b2)
    rates = self.learning_rate
    rule = {
      "adam": lambda: optax.adam(rates, **betas, eps=self.eps),
      "adamw": lambda: optax.adamw(rates, **betas, eps=self.eps, weight_decay=self.weight_decay),
      "radam": lambda: optax.radam(rates, **betas, eps=self.eps),
      "adamax": lambda: optax.adamax(rates, **betas, eps=self.eps),
      "lion": lambda: optax.lion(rates, **betas, weight_decay=self.weight_decay),
      "sgd": lambda: optax.sgd(rates, momentum=self.b1),
    }[self.rule]()
    before = [] if self.clip is None else [optax.stateless(lambda grads, _: _clipped(grads, self.clip))]
    after = [_onto_sphere(self.unit)] if self.unit else []
    return optax.chain(*before, rule, *after) if before or after else rule

  @functools.cached_property
  def learning_rate(self) -> Callable[[Array], Array]:
    """The learning rate as a function of the step."""
    after = (self.decay_steps or 0) - self.warmup
    main = {
      "constant": lambda: optax.constant_schedule(self.lr),
      "cosine": lambda: optax.cosine_decay_schedule(self.lr, after),
      "linear": lambda: optax.linear_schedule(self.lr, 0.0, after),
    }[self.schedule]()
    if not self.warmup:
      return main
    return optax.join_schedules([optax.linear_schedule(0.0, self.lr, self.warmup), main], [self.warmup])


def start(params: PyTree, optimizer: Optimizer, ema_decay: float | None = None, **extra: Any) -> State:
  """The state before the first step of a family with one loss; it keeps a moving average if that has a decay.

  Raises:
    InputError: a decay that is none.
  """
  if ema_decay is not None and not 0 <= ema_decay < 1:
    raise InputError(f"ema_decay = {ema_decay} should be in [0, 1), or None for no average")
  ema = None if ema_decay is None else jax.tree.map(jnp.copy, params)  # a copy: the loop donates its buffers
  return State(jnp.zeros((), jnp.int32), params, optimizer.tx.init(params), ema, extra)


def apply(optimizer: Optimizer, grads: PyTree, opt: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
  """(new params, new optimiser state)."""
  updates, opt = optimizer.tx.update(grads, opt, params)
  return optax.apply_updates(params, updates), opt


@jax.jit  # traced once for all who ask
def norm(tree: PyTree) -> Array:
  """The root of the sum of the squares of all entries, a scalar.

  Small arrays, most of those of a network, are laid end to end for it: a sum of each would take longer to trace, to
  compile and to launch than to make.
  """
  leaves = jax.tree.leaves(tree)
  small = [a.ravel() for a in leaves if a.size < SMALL]
  return optax.tree.norm([a for a in leaves if a.size >= SMALL] + ([jnp.concatenate(small)] if small else []))


def average(ema: PyTree, params: PyTree, decay: float | None, step: Array) -> PyTree:
  """The moving average after `step` earlier steps; None stays None.

  The decay warms up as (1 + step) / (10 + step) so that a short run is not dominated by its random start.
  """
  if ema is None:
    return None
  rate = 1.0 - jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda e, p: e + rate.astype(e.dtype) * (p - e), ema, params)


def descend(
  loss: Loss, optimizer: Optimizer, key: Key, state: State, batch: Batch, *, ema_decay: float | None = None
) -> tuple[State, Metrics]:
  """One gradient step on `loss`, and one of the moving average if `state` keeps one."""
  (value, (metrics, extra)), grads = jax.value_and_grad(loss, has_aux=True)(state.params, state, key, batch)
  params, opt = apply(optimizer, grads, state.opt, state.params)
  ema = average(state.ema, params, ema_decay, state.step)
  metrics = {"loss": value, **metrics, "grad_norm": norm(grads)}
  return state.replace(step=state.step + 1, params=params, opt=opt, ema=ema, extra=extra), metrics


def _clipped(grads: PyTree, largest: float) -> PyTree:
  """`grads`, shorter if their global norm is larger than `largest`.

  All are multiplied by one factor, while the rule reads them; optax's division is one more pass over the gradients.
  """
  factor = jnp.minimum(1.0, largest / norm(grads))
  return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads)


def _onto_sphere(names: tuple[str, ...]) -> optax.GradientTransformation:
  """Turns updates into those that end where the parameters of these names have a root mean square of 1.

  Raises:
    InputError: there are no parameters of that name.
  """
  name = lambda path: jax.tree_util.keystr(path[-1:], simple=True)

  def init(params):
    there = {name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    for missing in set(names) - there:
      raise InputError(f"unit: no parameter is called {missing!r}: {near(missing, there)}")
    return optax.EmptyState()

  def update(updates, state, params):
    def project(path, update, param):
      if name(path) not in names:
        return update
      moved = param + update
      square = jnp.square(moved).mean(range(moved.ndim - 1), keepdims=True)
      return moved * jax.lax.rsqrt(square) - param

    return jax.tree_util.tree_map_with_path(project, updates, params), state

  return optax.GradientTransformation(init, update)
