"""The one training loop: it runs every family and knows none of them."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gen_jax.data.feed import Feed
from gen_jax.errors import InputError, one_line
from gen_jax.family import Family, State
from gen_jax.run import compile as compiling
from gen_jax.run import mesh as meshes
from gen_jax.run.checkpoint import Checkpoints, abstract
from gen_jax.run.finish import Grids
from gen_jax.run.signals import Signals, Stopped
from gen_jax.run.writer import Writer
from gen_jax.types import Array, Key, PyTree

_DISPATCH_SECONDS = 0.2  # "auto" dispatches about this much work at once: enough to hide what a dispatch costs,
_MOST_STEPS, _MOST_BYTES = 64, 2**26  # but no more steps, and no more data beside the model, than this
_INIT, _STEPS = 0, 1  # streams of keys that come from the seed


class Program(NamedTuple):
  """Some training steps.

  Attributes:
    run: (key, state, store, chunk, first, num) -> (state, metrics [most, M] of `num` steps).
    names: the M names of the metrics.
    most: how many steps it takes at most.
    compile: () -> anything; what the first call of `run` would otherwise wait for.
  """

  run: Callable
  names: list[str]
  most: int
  compile: Callable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loop:
  """Training, from the step that the checkpoints reached to the last.

  Attributes:
    family: what is trained.
    feed: its data.
    options: the config's section `train`.
    seed: every key comes from it and the step.
    mesh: the devices.
    checkpoints: where it goes on from, and what it writes.
  """

  family: Family
  feed: Feed
  options: Any
  seed: int
  mesh: Mesh
  checkpoints: Checkpoints

  def restore(self) -> tuple[int, State] | None:
    """(step, state) of the newest good checkpoint, or None where there is none: it starts from `init`.

    Raises:
      InputError: there are checkpoints and none is good; the family does not fit the data.
    """
    found = self.checkpoints.restore(self.like)
    self.checkpoints.clear(found[0] if found else 0)
    return found

  def init(self) -> Callable[[], Callable[[], State]]:
    """Traces the making of the state before the first step: () -> compiles it, and returns () -> that state."""
    given = self._seed, self.feed.store, _item(self._example, 0)
    lowered = compiling.jit(self._init, out_shardings=self._places).lower(*given)
    return lambda: functools.partial(lowered.compile(), *given)

  @functools.cached_property
  def like(self) -> State:
    """The shapes and dtypes of the state, and where on the devices it goes.

    Raises:
      InputError: the family does not fit the data.
    """
    with one_line("family"):
      shapes = jax.eval_shape(self._init, self._seed, self.feed.store, _item(self._example, 0))
    return abstract(shapes, meshes.state_shardings(self.mesh, shapes, split=self.options.fsdp))

  def run(self, step: int, state: State, program: Program, log: Writer, signals: Signals) -> State:
    """The state after the last step; `program` takes the steps from `step` on.

    Raises:
      InputError: a metric or a parameter is not finite.
      Stopped: a signal came; the state is saved.
    """
    options = self.options
    grids = Grids(self.family, self.feed.source, self.checkpoints.workdir, num=options.num_samples, seed=self.seed)
    names, most = program.names, program.most
    pace = 1 if options.steps_per_dispatch == "auto" else most
    num, chunk = self._next(step, pace, most)
    warm = False  # the first dispatch finds its memory and its code in the making
    while num:
      start = time.perf_counter()
      state, history = program.run(self._seed, state, self.feed.store, chunk, step, num)
      upcoming = self._next(step + num, pace, most)  # read while the devices work
      history = np.asarray(history)[:num]
      seconds = meshes.agree(time.perf_counter() - start)
      self._check_metrics(step, names, history)
      log.steps(step, dict(zip(names, history.T, strict=True)), seconds if warm else None)
      if warm and options.steps_per_dispatch == "auto":
        pace = int(np.clip(_DISPATCH_SECONDS * num / seconds, 1, most))
      warm, step, (num, chunk) = True, step + num, upcoming
      stop = int(meshes.agree(signals.received))
      if stop or not num or step % options.save_every == 0:
        self._check_parameters(step, state)
        self.checkpoints.save(step, state)
      if stop:
        raise Stopped(stop, f"saved at step {step}; the same command goes on from there")
      if num and options.sample_every and step % options.sample_every == 0:
        log.say(f"samples: {grids.write(step, meshes.fetch(self.mesh, state.eval_params))}")
    return state

  def program(self) -> Program:
    """What takes the steps.

    The number of steps is an argument, so that however a run is cut into dispatches, and wherever it is interrupted
    and resumed, it is this one program that makes every step: the same bits.

    Raises:
      InputError: a step cannot be traced.
    """
    names: list[str] = []

    @jax.jit
    def one(key, state, store, item):
      state, metrics = self.family.step(key, state, self.feed.batch(store, item))
      names[:] = metrics  # in the family's order, which the compiled program forgets
      return state, jnp.stack([jnp.float32(m) for m in metrics.values()])

    chunk = self._example
    with one_line("family"), jax.set_mesh(self.mesh):
      key, item = abstract((self._seed, _item(chunk, 0)), meshes.replicated(self.mesh))
      traced = one.trace(key, self.like, self.feed.store, item)
    most = self._most_steps(chunk, traced.jaxpr)

    def many(key, state, store, chunk, first, num):
      keys = _key(key, _STEPS)

      def body(i, carry):
        state, history = carry
        state, row = one(_key(keys, first + i), state, store, _item(chunk, i))
        return state, history.at[i].set(row)

      history = jnp.zeros((most, *traced.out_info[1].shape))
      return jax.lax.fori_loop(0, num, body, (state, history)) if most > 1 else body(0, (state, history))

    jitted = compiling.jit(many, donate_argnums=1, out_shardings=(self._places, meshes.replicated(self.mesh)))

    def on_mesh(fn):  # in whatever thread: what is compiled elsewhere is another program
      def call(*args):
        with jax.set_mesh(self.mesh):
          return fn(*args)

      return call

    lowered = on_mesh(jitted.lower)(self._seed, self.like, self.feed.store, self.feed.chunk(0, 1, most), 0, 1)
    return Program(on_mesh(jitted), names, most, on_mesh(lowered.compile))  # into the cache where `run` looks for it

  @property
  def _places(self) -> PyTree:
    """Where on the devices the state goes."""
    return jax.tree.map(lambda a: a.sharding, self.like)

  @functools.cached_property
  def _seed(self) -> Key:
    return jax.random.key(self.seed)

  @functools.cached_property
  def _example(self) -> PyTree:
    """The data of a step, for its shapes."""
    return self.feed.chunk(0, 1, 1)

  @functools.cached_property
  def _init(self) -> Callable[[Key, PyTree, PyTree], State]:
    """(key, store, item) -> the first state, traced once."""

    @jax.jit
    def init(key, store, item):
      state = self.family.init(_key(key, _INIT), self.feed.batch(store, item))
      return jax.tree.map(lambda a: jax.lax.convert_element_type(a, jnp.result_type(a)), state)  # weakly typed no more

    return init

  def _most_steps(self, chunk: PyTree, jaxpr: Any) -> int:
    """How many steps a program takes at once: one where a loop would slow it down."""
    if self.options.steps_per_dispatch != "auto":
      return min(self.options.steps_per_dispatch, self.options.save_every)  # past which no dispatch goes
    if not compiling.loops_well(jaxpr):
      return 1
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(chunk))
    return int(np.clip(_MOST_BYTES // size, 1, _MOST_STEPS))

  def _next(self, step: int, pace: int, most: int) -> tuple[int, PyTree]:
    """(number of steps of the next dispatch, their data): up to the next save, grid or end, whichever comes first."""
    options = self.options
    stops = [options.steps, *(step + n - step % n for n in (options.save_every, options.sample_every) if n)]
    num = min(pace, min(stops) - step)
    return num, self.feed.chunk(step, num, most) if num else None

  def _check_metrics(self, first: int, names: list[str], history: np.ndarray) -> None:
    """Raises InputError where a metric of the steps after `first` is not finite."""
    bad = ~np.isfinite(history)
    if bad.any():
      i = int(bad.any(1).argmax())
      terms = ", ".join(f"{name} = {value}" for name, value, b in zip(names, history[i], bad[i], strict=True) if b)
      raise self._not_finite(f"step {first + i + 1} (the batch of seed {self.seed}, step {first + i}): {terms}")

  def _check_parameters(self, step: int, state: State) -> None:
    """Raises InputError where what is to be saved after `step` steps is not finite.

    On the host, where it goes anyway: hundreds of small reductions would take longer to compile than to run.
    """
    paths = jax.tree_util.tree_leaves_with_path({"params": state.params, "ema": state.ema})
    bad = next((jax.tree_util.keystr(path) for path, leaf in paths if not _is_finite(leaf)), None)
    if meshes.agree(bad is not None):
      where = f"step {step} or before (batches of seed {self.seed})"
      raise self._not_finite(f"{where}: parameter {bad or 'of another process'}")

  def _not_finite(self, what: str) -> InputError:
    good = self.checkpoints.steps()
    kept = f"the last good checkpoint is step {good[-1]}" if good else "there was no checkpoint yet"
    return InputError(
      f"not finite at {what}; {kept}. Lower the lr of the optimizer, or set its clip=1.0, in a new --workdir"
    )


def _key(key: Key, *path: int | Array) -> Key:
  """The key of a use, and of a step of it."""
  return functools.reduce(jax.random.fold_in, path, key)


def _item(chunk: PyTree, i: int | Array) -> PyTree:
  return jax.tree.map(lambda a: a[i], chunk)


def _is_finite(leaf: Array) -> bool:
  """Whether `leaf` is finite, as far as this process has the first copy of it."""
  return not jnp.issubdtype(leaf.dtype, jnp.inexact) or all(
    np.isfinite(np.asarray(shard.data)).all() for shard in leaf.addressable_shards if shard.replica_id == 0
  )
