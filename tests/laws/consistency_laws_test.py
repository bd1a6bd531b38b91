"""One-step models that are trained on a Gaussian approach what is known: its consistency function, or its moments.

For data N(m, s^2) on the path z = x0 + r eps, the flow from r to r' is m + (z - m) sqrt((s^2 + r'^2) / (s^2 + r^2)).
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.families.consistency import Consistency
from gen_jax.families.continuous_consistency import ContinuousConsistency
from gen_jax.families.diffusion import Diffusion
from gen_jax.families.distribution_matching import DistributionMatching
from gen_jax.nets.mlp import TimeMLP
from gen_jax.ops import distances
from gen_jax.ops.shapes import expand
from gen_jax.processes import gaussian, neighbours, prediction
from gen_jax.solvers import edm, semilinear
from gen_jax.steps import Optimizer
from gen_jax.types import Spec

PLANE = Spec(shape=(2,), kind="vector")
MEAN, STD = np.array([1.0, -0.5], np.float32), 0.5
PATH = gaussian.edm(sigma_max=20.0)
STEPS = 10_000  # after 4,000 the error is anything from 0.05 to 0.26, by the start and by how a compiler rounds


class Denoiser(nn.Module):
  """E[x0 | z] = m + s^2 / (s^2 + r^2) (z - m), for inputs of unit variance."""

  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    self.param("unused", nn.initializers.zeros_init(), ())
    r = expand(jnp.exp(4 * time), x)
    z = x * jnp.sqrt(1 + r**2)
    return MEAN + STD**2 / (STD**2 + r**2) * (z - MEAN)


@dataclasses.dataclass(frozen=True)
class Trained:
  """What `run.load` gives, without a run."""

  family: Any
  params: Any


@functools.cache
def teacher():
  family = Diffusion(spec=PLANE, path=PATH, net=Denoiser(), prediction=prediction.x0())
  return Trained(family, jax.jit(family.init)(jax.random.key(0), {"x": jnp.zeros((2, 2))}).params)


def error(family, factor):
  """Root mean squared difference of a trained f from m + factor(r) (z - m), over s, at half the noise levels."""

  def one(state, n):
    key_x, key_step = jax.random.split(jax.random.fold_in(jax.random.key(1), n))
    x = MEAN + STD * jax.random.normal(key_x, (256, 2))
    return family.step(key_step, state, {"x": x})[0], None

  state = family.init(jax.random.key(2), {"x": jnp.zeros((256, 2))})
  state = jax.jit(lambda state: jax.lax.scan(one, state, jnp.arange(STEPS))[0])(state)
  f = family.origin(state.eval_params)
  z = MEAN + np.hypot(STD, PATH.t_max) * jax.random.normal(jax.random.key(3), (2000, 2))
  return float(jnp.sqrt(jnp.square(f(PATH.t_max, z) - MEAN - factor * (z - MEAN)).mean()) / STD)


def flow(r, r_next):
  return np.sqrt((STD**2 + r_next**2) / (STD**2 + r**2))


def ddim(r, r_next):
  """One step of DDIM, by hand."""
  return r_next / r + (1 - r_next / r) * STD**2 / (STD**2 + r**2)


def composed(step, num):
  """What `num` - 1 such steps along Karras's levels do."""
  ends = PATH.t_min ** (1 / 7), PATH.t_max ** (1 / 7)
  levels = (ends[0] + np.arange(num) / (num - 1) * (ends[1] - ends[0])) ** 7
  return np.prod([step(r, s) for r, s in zip(levels[1:], levels[:-1], strict=True)])


EXACT = flow(PATH.t_max, PATH.t_min)
COMMON = dict(
  spec=PLANE,
  path=PATH,
  net=TimeMLP(width=64, depth=2),
  prediction=prediction.edm(STD),
  ema_decay=0.99,
  optimizer=Optimizer(lr=1e-3, schedule="cosine", decay_steps=STEPS, clip=1.0),
)


def distilled(num, solver):
  return Consistency(
    **COMMON, teacher=teacher(), solver=solver, neighbours=neighbours.levels(num), distance=distances.l2()
  )


def trained(num):
  return Consistency(**COMMON, neighbours=neighbours.levels(num), distance=distances.l2())


@pytest.mark.parametrize("family", (lambda num: distilled(num, semilinear.ddim()), trained), ids=("CD", "CT"))
def test_few_levels_are_steps_of_ddim_and_the_error_falls_with_their_number(family):
  """With few levels f is the composition of so many steps of DDIM, whose distance to the flow is known.

  From data, f at a level is E[f at the next | x there]: on a Gaussian also a factor (STD^2 + r r_next) / (STD^2 + r^2),
  which is that of DDIM.
  """
  found = {num: error(family(num), EXACT) for num in (3, 6, 12)}
  for num, value in found.items():
    gap = abs(composed(ddim, num) - EXACT) * np.hypot(STD, PATH.t_max) / STD
    assert value == pytest.approx(gap, abs=0.05), (num, value, gap)
  assert found[12] < found[6] < found[3]


FAMILIES = {
  "heun": lambda: distilled(18, edm.heun),
  "training": lambda: Consistency(**COMMON, neighbours=neighbours.growing(total=STEPS, last=20), target_decay=0.9),
  "improved": lambda: Consistency(**COMMON, neighbours=neighbours.doubling(total=STEPS), weight=neighbours.inverse()),
  "tuning": lambda: Consistency(**COMMON, neighbours=neighbours.tuning(total=STEPS), weight=neighbours.inverse()),
  "continuous distillation": lambda: ContinuousConsistency(**COMMON, teacher=teacher(), warmup=1000),
  "continuous training": lambda: ContinuousConsistency(**COMMON, warmup=1000),
}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_training_approaches_the_consistency_function(family):
  """A network that knows nothing is off by more than twice the standard deviation of the data."""
  assert error(family(), EXACT) < 0.2


class Normal(nn.Module):
  """What a network says that knows the denoiser of N(mean, std^2), both parameters, on a path of unit variance: v."""

  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    mean = self.param("mean", nn.initializers.zeros_init(), (2,))
    std = jnp.exp(self.param("log_std", nn.initializers.zeros_init(), ()))
    r = expand(jnp.exp(4 * time), x)
    alpha, sigma = 1 / jnp.sqrt(1 + r**2), r / jnp.sqrt(1 + r**2)
    x0 = mean + alpha * std**2 / (alpha**2 * std**2 + sigma**2) * (x - alpha * mean)
    return (alpha * x - x0) / sigma


def test_distribution_matching_ends_with_the_distribution_of_its_teacher():
  """From another one, with a generator, a critic and a teacher that can be normal and nothing else."""
  path, steps = gaussian.cosine(t_max=0.8), 2000
  common = dict(spec=PLANE, path=path, net=Normal(), prediction=prediction.v())

  def run(mean, std):
    return Trained(Diffusion(**common), {"params": {"mean": jnp.asarray(mean), "log_std": jnp.log(jnp.float32(std))}})

  rule = dict(b1=0.0, schedule="cosine", decay_steps=steps)
  family = DistributionMatching(
    **common,
    teacher=run(MEAN, STD),
    start=run(jnp.zeros(2), 1.0),
    ema_decay=0.99,
    optimizer=Optimizer(lr=3e-3, **rule),
    critic_optimizer=Optimizer(lr=3e-2, **rule),
  )
  batch = {"x": jnp.zeros((256, 2))}  # the data are not looked at
  one = lambda state, n: (family.step(jax.random.fold_in(jax.random.key(1), n), state, batch)[0], None)
  state = jax.jit(lambda state: jax.lax.scan(one, state, jnp.arange(steps))[0])(family.init(jax.random.key(2), batch))
  x = np.asarray(family.sample(jax.random.key(3), state.eval_params, 100_000))
  np.testing.assert_allclose(x.mean(0), MEAN, atol=0.02)
  np.testing.assert_allclose(x.std(0), STD, rtol=0.03)
