"""Discrete diffusion around a network that knows the data: independent pixels with given probabilities."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.families.discrete_diffusion import DiscreteDiffusion
from gen_jax.family import HasBound
from gen_jax.processes import categorical
from gen_jax.types import Spec

P = np.array([0.5, 0.2, 0.3], np.float32)  # of the three levels of every pixel
ENTROPY = float(-(P * np.log(P)).sum())
SPEC = Spec(shape=(2, 2, 1), kind="image", levels=3)


class Exact(nn.Module):
  """log p(x | z_t) of every pixel, from the planes that the family gives a network."""

  masked: bool = True
  out: int = 1
  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    self.param("unused", nn.initializers.zeros_init(), (1,))
    assert self.out == 3 and x.shape[-1] == 2
    value, mask = x[..., :1], x[..., 1:]
    odds = jnp.exp(-4 * time)[:, None, None, None]  # alpha / (1 - alpha)
    same = jnp.abs(value - jnp.array([-1.0, 0.0, 1.0])) < 0.1
    if self.masked:
      return jnp.where(mask > 0.5, jnp.log(P), jnp.where(same, 0.0, -30.0))
    return jnp.log(P) + jnp.log(odds * same + 1 / 3)


def family_of(name, **kwargs):
  process = getattr(categorical, name)()
  return DiscreteDiffusion(spec=SPEC, net=Exact(process.masked), process=process, **kwargs)


def start(family):
  return jax.jit(family.init)(jax.random.key(0), {"x": jnp.zeros((4, 2, 2, 1))})


def data(num):
  return jax.random.choice(jax.random.key(5), jnp.array([-1.0, 0.0, 1.0]), (num, 2, 2, 1), p=jnp.array(P))


@pytest.mark.parametrize("name", ("absorbing", "uniform"))
def test_bound_is_tight(name):
  """The exact reverse of a chain loses nothing: the bound is minus the entropy, and the loss the same per pixel."""
  family, x = family_of(name, chain=50), data(20_000)
  state = start(family)
  assert isinstance(family, HasBound) and "50" in family.bound()
  value = jax.jit(lambda x: family.log_prob_bound(jax.random.key(1), state.params, x, num=4))(x)
  assert float(value.mean()) == pytest.approx(-4 * ENTROPY, abs=5 * float(value.std()) / 20_000**0.5)
  loss = jax.jit(lambda x: family.loss(state.params, state, jax.random.key(2), {"x": x})[0])(x)
  assert float(loss) == pytest.approx(ENTROPY, rel=0.05)


@pytest.mark.parametrize("name", ("absorbing", "uniform"))
def test_samples_follow_the_data(name):
  family = family_of(name, steps=16)
  x = jax.jit(family.sample, static_argnums=2)(jax.random.key(1), start(family).params, 8000)
  shares = [float((x == level).mean()) for level in (-1.0, 0.0, 1.0)]
  np.testing.assert_allclose(shares, P, atol=5 * 0.5 / 32_000**0.5)


def test_bad_input():
  with pytest.raises(InputError, match="images with levels"):
    DiscreteDiffusion(spec=Spec(shape=(2,), kind="vector"))
  with pytest.raises(InputError, match="at least 1"):
    family_of("absorbing", steps=0)
