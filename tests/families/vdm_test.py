"""Variational diffusion models around the exact network of normal data."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.families.vdm import VDM
from gen_jax.ops.shapes import expand
from gen_jax.processes import times
from gen_jax.processes.learned import Monotone
from gen_jax.types import Spec

STD = 0.5


class Exact(nn.Module):
  """The noise that is expected in xt on a variance-preserving path for N(0, STD^2) data."""

  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    gain = 1 + self.param("gain", nn.initializers.zeros_init(), ())
    alpha2 = expand(jax.nn.sigmoid(-8 * time), x)
    return gain * jnp.sqrt(1 - alpha2) / (1 - alpha2 + alpha2 * STD**2) * x


@pytest.fixture(scope="module")
def family():
  return VDM(spec=Spec(shape=(2,), kind="vector"), net=Exact(), path=Monotone(gamma_min=-9.0, gamma_max=7.0))


@pytest.fixture(scope="module")
def state(family):
  state = jax.jit(family.init)(jax.random.key(0), {"x": jnp.zeros((4, 2))})
  shape = state.params["schedule"]["shape"]
  bent = {**state.params["schedule"], "shape": {**shape, "slope": shape["slope"] + 1.0, "out": shape["out"] + 5.0}}
  return state.replace(params={**state.params, "schedule": bent})


def test_loss_is_the_entropy(family, state):
  """With the exact network the bound is all but tight, whatever the schedule; `log_prob_bound` says the same."""
  x = STD * jax.random.normal(jax.random.key(1), (100_000, 2))
  entropy = 0.5 * np.log(2 * np.pi * np.e * STD**2)
  loss = jax.jit(lambda x: family.loss(state.params, state, jax.random.key(2), {"x": x})[0])(x)
  bound = jax.jit(lambda x: family.log_prob_bound(jax.random.key(3), state.params, x).mean())(x)
  assert float(loss) == pytest.approx(entropy, abs=0.02)
  assert float(-bound / 2) == pytest.approx(entropy, abs=0.02)


def test_gradients(family, state):
  """The network and the ends follow the mean of the loss, the shape of the schedule the mean of its square."""
  x, key = STD * jax.random.normal(jax.random.key(1), (64, 2)), jax.random.key(2)
  terms = lambda p: family._terms(p, key, {"x": x})

  @jax.jit
  def gradients(params):
    both, pull = jax.vjp(lambda p: (sum(t.mean() for t in terms(p)), jnp.square(terms(p)[0]).mean()), params)
    one, none = jnp.ones_like(both[0]), jnp.zeros_like(both[0])
    return (
      jax.grad(lambda p: family.loss(p, state, key, {"x": x})[0])(params),
      pull((one, none))[0],
      pull((none, one))[0],
    )

  grads, mean, square = gradients(state.params)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
  close(grads["params"]["gain"], mean["params"]["gain"])
  close(grads["schedule"]["ends"], mean["schedule"]["ends"])
  jax.tree.map(close, grads["schedule"]["shape"], square["schedule"]["shape"])
  assert float(jnp.abs(grads["schedule"]["shape"]["slope"])) > 1e-3


def test_bad_input():
  with pytest.raises(InputError, match="learns where to look"):
    VDM(spec=Spec(shape=(2,), kind="vector"), net=Exact(), times=times.importance())
