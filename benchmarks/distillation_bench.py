"""What distillation costs beyond the network's evaluations that it is made of, and one-step samples.

A step of consistency distillation evaluates the teacher twice, in a step of Heun's method, the target, and the student
with its gradient, which is as much as two more; one of distribution matching the generator and its gradient, the
teacher, the critic, and the critic again with its gradient. The peer of a step are those alone, in one compiled
program; the peer of a one-step sample is the network.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import peers
from benchmarks.timing import Row, compare
from gen_jax.families.consistency import Consistency
from gen_jax.families.diffusion import Diffusion
from gen_jax.families.distribution_matching import DistributionMatching
from gen_jax.nets.unet import UNet
from gen_jax.run import compile as compiling
from gen_jax.types import Spec

_SPEC = Spec(shape=(28, 28, 1), kind="image", levels=256)
_NET = UNet(patch=2, channels=32, multipliers=(1, 2), blocks=1, attention=(1,))
_BATCH, _RUNS = peers.sized(64, 512), peers.sized(9, 20)


@dataclasses.dataclass(frozen=True)
class _Run:
  """What `run.load` gives, without a run."""

  family: Any
  params: Any


def rows(name: str) -> Iterator[Row]:
  """Yields the rows whose name has `name` in it."""
  key = jax.random.key(0)
  batch = {"x": jnp.tanh(jax.random.normal(key, (_BATCH, *_SPEC.shape)))}
  for kind, (family, peer) in _STEPS.items():
    step = f"{kind} step, U-Net of diffusion_mnist, batch {_BATCH}"
    if name in step:
      student = _student(family, batch)
      state = jax.jit(student.init)(key, batch)
      ours = functools.partial(compiling.jit(student.step), key, state, batch)
      theirs = functools.partial(peer, state.params, batch["x"])
      yield compare(step, ours, "its network evaluations", theirs, runs=_RUNS)
  sample = f"one-step samples, U-Net of diffusion_mnist, batch {_BATCH}"
  if name in sample:
    student = _student(Consistency, batch)
    params = jax.jit(student.init)(key, batch).params
    ours = functools.partial(compiling.jit(student.sample, static_argnums=2), key, params, _BATCH)
    peer = functools.partial(compiling.jit(_NET.apply), params, batch["x"], jnp.zeros(_BATCH))
    yield compare(sample, ours, "the network once", peer, runs=_RUNS)


def _student(family: Any, batch: dict[str, jax.Array]) -> Any:
  teacher = Diffusion(spec=_SPEC, net=_NET)
  run = _Run(teacher, jax.jit(teacher.init)(jax.random.key(1), batch).params)
  return family(
    spec=_SPEC, net=_NET, path=teacher.path, prediction=teacher.prediction, teacher=run, start=run, probe_every=10**9
  )


def _call(params: Any, x: jax.Array) -> jax.Array:
  return _NET.apply(params, x, jnp.zeros(_BATCH))


@compiling.jit
def _consistency(params: Any, x: jax.Array) -> Any:
  """The teacher's two, the target's, and the student's with its gradient; each needs the one before, as in a step."""
  target = _call(params, _call(params, _call(params, x)))
  return jax.value_and_grad(lambda params: jnp.square(_call(params, x) - target).mean())(params)


@compiling.jit
def _matching(params: Any, x: jax.Array) -> Any:
  """The generator's with its gradient, the teacher's and the critic's, and the critic's with its gradient.

  The critic's first follows the teacher's, so that a compiler cannot make one of the two of the same parameters.
  """

  def generate(learned):
    made = _call(learned, x)
    target = _call(params, _call(params, jax.lax.stop_gradient(made)))
    return jnp.square(made - target).mean(), made

  (loss, made), of_generator = jax.value_and_grad(generate, has_aux=True)(params)
  of_critic = jax.grad(lambda params: jnp.square(_call(params, made) - made).mean())(params)
  return loss, of_generator, of_critic


_STEPS = {
  "consistency distillation": (Consistency, _consistency),
  "distribution matching": (DistributionMatching, _matching),
}
