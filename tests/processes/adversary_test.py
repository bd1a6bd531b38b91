"""A discriminator by itself: its penalties, and the spectral normalisation that follows its kernels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.nets.mlp import MLP
from gen_jax.ops import adversarial
from gen_jax.processes.adversary import Adversary
from gen_jax.steps import Optimizer

STILL = Optimizer(rule="sgd", lr=0.0)


class Line(nn.Module):
  """The logit slope x + offset."""

  slope: float = 0.5
  offset: float = -0.3
  out: tuple[int, ...] = ()

  @nn.compact
  def __call__(self, x):
    kernel, bias = nn.initializers.constant(self.slope), nn.initializers.constant(self.offset)
    return nn.Dense(1, kernel_init=kernel, bias_init=bias)(x)[:, 0]


def turns(adversary, real, fake, num=1):
  """What the adversary knows after some turns, and the metrics of each."""
  known, seen = adversary.start(jax.random.key(0), real), []
  learn = jax.jit(adversary.learn)
  for n in range(num):
    known, metrics = learn(jax.random.key(n), known, real, fake)
    seen.append(metrics)
  return known, seen


def test_r1_is_lazy_and_unbiased():
  """A linear logit of slope a has R1 = a^2 / 2 wherever it is; every third turn pays for three."""
  adversary = Adversary(net=Line(slope=0.5), r1=0.8, r1_every=3, optimizer=STILL)
  _, seen = turns(adversary, jnp.ones((4, 1)), jnp.zeros((4, 1)), num=6)
  penalties = [m["penalty"] for m in seen]
  np.testing.assert_allclose(penalties, [3 * 0.8 * 0.5**2 / 2, 0, 0] * 2, rtol=1e-5)


def test_the_gradient_penalty_pulls_the_slope_to_one():
  """Real and made data are the same: only the penalty moves the slope."""
  adversary = Adversary(net=Line(slope=0.2), game=adversarial.wasserstein, gradient_penalty=10.0, optimizer=STILL)
  x = jnp.full((4, 1), 2.0)
  _, (metrics,) = turns(adversary, x, x)
  np.testing.assert_allclose(metrics["penalty"], 10 * 0.8**2, rtol=1e-4)
  np.testing.assert_allclose(metrics["grad_norm_d"], 20 * 0.8, rtol=1e-4)


def test_spectral_norm_follows_the_singular_values_through_training():
  """With a discriminator at rest, its vectors converge to the singular vectors of its kernels."""
  adversary = Adversary(net=MLP(width=6, depth=1), spectral_norm=True, optimizer=STILL)
  known, _ = turns(adversary, jnp.ones((4, 4)), jnp.zeros((4, 4)), num=300)
  for layer in ("Dense_0", "Dense_1"):
    u, kernel = (np.asarray(known[of]["params"][layer]["kernel"]) for of in ("u", "params"))
    np.testing.assert_allclose(np.linalg.norm(kernel @ u), np.linalg.svd(kernel, compute_uv=False)[0], rtol=1e-4)


def test_spectral_norm_counts_a_steep_slope_as_one():
  adversary = Adversary(net=Line(slope=-5.0, offset=0.0), spectral_norm=True, optimizer=STILL)
  x = jnp.full((4, 1), 3.0)
  _, (metrics,) = turns(adversary, x, x)
  np.testing.assert_allclose(metrics["real"], -3.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["non_saturating", "hinge", "least_squares", "wasserstein"])
def test_a_turn_orders_data_above_what_is_made(name):
  """Data at 1 and made data at -1: the slope rises from zero, and to make data would pay."""
  adversary = Adversary(net=Line(slope=0.0, offset=0.0), game=getattr(adversarial, name), optimizer=Optimizer(lr=0.1))
  real, fake = jnp.ones((4, 1)), -jnp.ones((4, 1))
  known, seen = turns(adversary, real, fake, num=2)
  assert seen[0]["ordered"] == 0 and seen[1]["ordered"] == 1
  assert adversary.fooled(known, fake) > adversary.fooled(known, real)
  assert int(known["turns"]) == 2
