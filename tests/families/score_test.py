"""Score matching around a network that is the true score."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import resolve
from gen_jax.families.score import Score
from gen_jax.ops.shapes import expand
from gen_jax.processes import score_matching
from gen_jax.solvers import langevin
from gen_jax.types import Spec

PLANE = Spec(shape=(2,), kind="vector")
STD, MEAN = 0.5, 0.8


class Exact(nn.Module):
  """`factor` times the noise expected in xt = x0 + sigma eps, x0 ~ N(MEAN, STD^2); x comes with unit variance."""

  factor: float = 1.0
  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    self.param("unused", nn.initializers.zeros_init(), (1,))
    sigma = expand(jnp.exp(4 * time), x)
    return self.factor * sigma * (x * jnp.sqrt(1 + sigma**2) - MEAN) / (STD**2 + sigma**2)


def start(family):
  return jax.jit(family.init)(jax.random.key(0), {"x": jnp.zeros((4, 2))})


def test_config_builds_it():
  config = dict(
    name="score.Score", net=dict(name="mlp.TimeMLP"), objective=dict(name="score_matching.sliced", draws=3), steps=4
  )
  family = resolve.build("families", config, spec=PLANE)
  assert family.evaluations == 4 * 100 + 1


@pytest.mark.parametrize("objective", (score_matching.denoising(), score_matching.exact(), score_matching.sliced()))
def test_loss(objective):
  """Twice the score costs sigma^2 |score|^2 / 2 more than the score itself: eq. 6 of arXiv:1907.05600, by hand."""
  x = MEAN + STD * jax.random.normal(jax.random.key(1), (100_000, 2))

  def loss(factor):
    family = Score(spec=PLANE, net=Exact(factor), objective=objective)
    state = start(family)
    return float(jax.jit(lambda x: family.loss(state.params, state, jax.random.key(2), {"x": x})[0])(x))

  sigma = np.geomspace(0.01, 1.0, 10)
  assert loss(2.0) - loss(1.0) == pytest.approx(np.mean(sigma**2 / (STD**2 + sigma**2)) / 2, rel=0.05)


def test_annealed_langevin_dynamics():
  """Its samples are normal with the moments of the linear recursion that the algorithm is here, and near the data's."""
  family = Score(spec=PLANE, net=Exact(), solver=langevin.annealed(step_size=0.2, rounds=60), steps=9)
  x = jax.jit(family.sample, static_argnums=2)(jax.random.key(1), start(family).params, 20_000)
  mean, var = 0.0, 1.0
  for sigma in np.geomspace(1.0, 0.01, 10)[1:]:
    for _ in range(60):
      rate = 0.1 * sigma**2 / (STD**2 + sigma**2)
      mean, var = mean + rate * (MEAN - mean), (1 - rate) ** 2 * var + 0.2 * sigma**2
  assert mean == pytest.approx(MEAN, rel=0.02) and var == pytest.approx(STD**2, rel=0.15)
  assert float(x.mean()) == pytest.approx(mean, abs=5 * STD / 40_000**0.5)
  assert float(x.var()) == pytest.approx(var, rel=5 * (2 / 40_000) ** 0.5)
