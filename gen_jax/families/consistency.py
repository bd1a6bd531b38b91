"""Consistency models: a network that maps any point of a probability flow to where the flow starts, in one step."""

import dataclasses

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, require
from gen_jax.family import State
from gen_jax.ops.distances import Distance
from gen_jax.processes.adversary import Adversary
from gen_jax.processes.consistency import ConsistencyModel
from gen_jax.processes.neighbours import Neighbours, PairWeight
from gen_jax.resolve import part
from gen_jax.solvers.base import Solver
from gen_jax.types import Array, Batch, Key, Metrics, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Consistency(ConsistencyModel):
  """Consistency models in discrete time: arXiv:2303.01469.

  A student f agrees with itself at two neighbouring times of one trajectory: E[w d(f(xt, t), f'(xs, s))], with f' that
  is not differentiated. With a teacher, xs is one step of `solver` along its flow (consistency distillation, algorithm
  2); without one, xs has the data and the noise of xt (consistency training, algorithm 3). What is called improved
  consistency training (arXiv:2310.14189) and easy consistency tuning (arXiv:2406.14548) are choices of `neighbours`,
  `weight`, `distance` and `start`.

  With an `adversary` f also learns to make what a discriminator takes for data: E[w d] + lambda (the loss of the game),
  as arXiv:2310.02279 adds it, with the lambda for which the game moves the estimates f of a batch as far as the
  distance does, or `adversarial_weight` times as far. The discriminator takes its turn after f, on the same estimates
  of all times, and without their conditions.

  Attributes:
    neighbours: density of the pairs of times, and how it changes as training goes on.
    weight: what each pair counts for.
    distance: how estimates are compared.
    solver: takes the step along the teacher's flow: deterministic and without memory.
    target_decay: decay mu_0 of the moving average that f' is, in the power of `neighbours.coarse`; 0 for f itself.
    adversary: the discriminator, the game, and the penalties; None for none.
    adversarial_weight: how much more the game moves the estimates than the weighted distance does. Made for `weight` =
      neighbours.unit: where some pairs count for far more than others, the game is weighed by those alone.

  Raises:
    InputError: settings that do not fit each other, the data, or the runs that are named.
  """

  neighbours: Neighbours = part("processes", "neighbours.levels")
  weight: PairWeight = part("processes", "neighbours.unit")
  distance: Distance = part("ops", "distances.pseudo_huber")
  solver: Solver = part("solvers", "edm.heun")
  target_decay: float = 0.0
  adversary: Adversary | None = part("processes", None)
  adversarial_weight: float = 1.0

  def __post_init__(self):
    super().__post_init__()
    memory = jax.tree.leaves(self.solver.init(jnp.zeros((1, 1))))
    if self.solver.stochastic or not self.solver.evaluations or memory:
      raise InputError("solver: choose one that takes a single step, without noise or memory, such as edm.heun")
    require(target_decay=(self.target_decay, 0 <= self.target_decay < 1, "in [0, 1)"))
    require(adversarial_weight=(self.adversarial_weight, self.adversarial_weight > 0, "positive"))

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step."""
    state, extra = super().init(key, batch), {}
    if self.target_decay:
      extra["target"] = jax.tree.map(jnp.copy, state.params)
    if self.adversary is not None:
      extra["adversary"] = self.adversary.start(jax.random.fold_in(key, 2), batch["x"])  # 0 and 1 are split off above
    return state.replace(extra={**state.extra, **extra})

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One step of gradient descent on `loss`, one of the target's average, and the discriminator's turn."""
    coarse = self.neighbours.coarse(state.step)
    state, metrics = super().step(key, state, batch)
    extra = dict(state.extra)
    if self.target_decay:
      mix = 1 - self.target_decay**coarse
      target = jax.tree.map(lambda t, p: t + mix.astype(t.dtype) * (p - t), state.extra["target"], state.params)
      extra["target"] = target
    if self.adversary is not None:
      key, fake = jax.random.fold_in(key, 3), extra.pop("estimate")  # the loss has 0 to 2
      extra["adversary"], seen = self.adversary.learn(key, extra["adversary"], batch["x"], fake)
      metrics = {**metrics, **seen}
    return state.replace(extra=extra), metrics

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """The weighted distance between both ends of a step, averaged over pairs of times, and the game."""
    key_t, key_eps, key_net = jax.random.split(key, 3)
    x, path = batch["x"], self.path
    t, s = self.neighbours.draw(key_t, path, len(x), state.step)
    xt, eps = path.perturb(key_eps, x, t)
    if self.teacher is None:
      xs = path.mix(x, eps, s)
    else:
      problem = path.problem(self.teach(state.extra, batch))
      xs, _ = self.solver.step(self.solver.of(problem), key, xt, t, s, self.solver.init(xt))
    target = jax.lax.stop_gradient(self.origin(state.extra.get("target", params), batch, key_net)(s, xs))
    estimate = self.origin(params, batch, key_net)(t, xt)
    error = lambda x: jnp.mean(self.weight(path, t, s) * self.distance(x, target))
    if self.adversary is None:
      return error(estimate), ({}, state.extra)
    loss, metrics = self.adversary.beside(state.extra["adversary"], error, estimate, self.adversarial_weight)
    return loss, (metrics, {**state.extra, "estimate": jax.lax.stop_gradient(estimate)})
