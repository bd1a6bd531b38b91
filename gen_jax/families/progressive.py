"""Progressive distillation: a student does in one step what its teacher does in two, again and again."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.errors import InputError, at_least
from gen_jax.family import State
from gen_jax.ops.shapes import expand, mean_flat
from gen_jax.processes.guidance import OnPath
from gen_jax.processes.student import Distilled, jump
from gen_jax.processes.weighting import Weighting
from gen_jax.resolve import part
from gen_jax.solvers.grids import Grid, span
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progressive(Distilled):
  """Progressive distillation: arXiv:2202.00512, algorithm 2.

  In the first of `rounds`, the student learns to do two steps of DDIM of the teacher in one; in each that follows, what
  its moving average then does in two. It trains on from round to round, where algorithm 2 starts each time from the new
  teacher's parameters, its average. The last round has `steps` steps; the first teacher takes 2^rounds as many. A run
  can be the teacher of another, with fewer steps.

  Attributes:
    grid: where the steps of the finest teacher end.
    weight: weight of the error of the data at each time.
    rounds: how often the number of steps is halved.
    round_steps: steps of training in a round; the last goes on as long as training does.

  Raises:
    InputError: settings that do not fit each other, the data, or the runs that are named; no teacher.
  """

  grid: Grid = part("solvers", "grids.cosine")
  weight: Weighting = part("processes", "weighting.truncated")
  rounds: int = 5
  round_steps: int = 1000

  def __post_init__(self):
    super().__post_init__()
    at_least(1, rounds=self.rounds, round_steps=self.round_steps)
    theirs, ours = self.teacher.family, self.steps * 2**self.rounds
    if isinstance(theirs, Progressive):
      if theirs.steps != ours:
        raise InputError(f"teacher: it takes {theirs.steps} steps, and steps * 2^rounds is {ours}: make them the same")
      if not np.allclose(theirs.stops, span(self.grid, self.path, ours), rtol=1e-4):
        raise InputError("teacher: it was trained at other times: set grid to that of the run")

  @property
  def _teachers(self) -> Any:
    return OnPath | Progressive

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step, with the network of the teacher."""
    state = super().init(key, batch)
    return state.replace(extra={**state.extra, "teacher": self._network()})

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One step of gradient descent on `loss`; at the end of a round, the student becomes the teacher."""
    state, metrics = super().step(key, state, batch)
    over = (state.step % self.round_steps == 0) & (state.step < self.rounds * self.round_steps)
    teacher = jax.tree.map(lambda old, new: jnp.where(over, new, old), state.extra["teacher"], state.eval_params)
    return state.replace(extra={**state.extra, "teacher": teacher}), metrics

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """The weighted error of the data that one step needs to end where two of the teacher's do: appendix G's target."""
    key_t, key_eps, key_net = jax.random.split(key, 3)
    x, path = batch["x"], self.path
    done = jnp.minimum(state.step // self.round_steps, self.rounds - 1)
    stride = 2**done  # of the teacher's steps, in those of the finest grid
    ts = span(self.grid, path, self.steps * 2**self.rounds)
    n = 2 * stride * jax.random.randint(key_t, (len(x),), 0, self.steps * 2 ** (self.rounds - 1) // stride)
    t, s = ts[n], ts[n + 2 * stride]
    xt, _ = path.perturb(key_eps, x, t)
    before = state.extra["teacher"]
    taught, own = (
      self.teach({**state.extra, "teacher": {**self.teacher.params, **before}}, batch),
      self._denoise(before, batch),
    )
    teach = lambda t, xt: jax.lax.cond(done == 0, taught, own, t, xt)  # a student has its teacher's guidance in it
    half = lambda i, x: jump(path, teach(ts[n + i * stride], x), x, ts[n + i * stride], ts[n + (i + 1) * stride])
    xs = jax.lax.fori_loop(0, 2, half, xt)
    kept = path.sigma(s) / path.sigma(t)
    target = (xs - expand(kept, xt) * xt) / expand(path.alpha(s) - kept * path.alpha(t), xt)
    error = jnp.square(self._denoise(params, batch, key_net)(t, xt) - jax.lax.stop_gradient(target))
    return jnp.mean(self.weight(path, t) * mean_flat(error)), ({"stride": stride}, state.extra)

  def denoiser(self, params: PyTree, cond: Cond = None):
    """denoise(t, xt) -> what a step from t takes for the data: meant for the times of its steps, to distil further."""
    return self._denoise(params, cond)

  def _ends(self, noise: Array, cond: Cond) -> Array:
    """Those of the teacher's own steps, where they are all that its estimates are for."""
    run = self.teacher
    if isinstance(run.family, Progressive):
      return run.family.transport(jax.random.key(0), run.params, noise, cond)
    return super()._ends(noise, cond)

  @property
  def stops(self) -> Array:
    """Where the sampler's steps start and end, [steps + 1]: every so many of those of the first teacher."""
    stride = 2**self.rounds
    return span(self.grid, self.path, self.steps * stride)[::stride]

  def transport(self, key: Key, params: PyTree, noise: Array, cond: Cond = None) -> Array:
    """The samples that `steps` steps of DDIM make of `noise` [B, *shape], which has the scale sigma(t_max)."""
    del key
    denoise, ts = self._denoise(params, cond), self.stops

    def one(x, interval):
      t, s = interval
      return jump(self.path, denoise(t, x), x, t, s), None

    return jax.lax.scan(one, noise, (ts[:-1], ts[1:]))[0]
