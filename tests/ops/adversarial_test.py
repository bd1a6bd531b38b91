"""Games at their known optima, and penalties of functions whose gradients are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial
import scipy.stats

from gen_jax.ops import adversarial

P, Q = np.array([6, 3, 1]), np.array([2, 2, 6])  # how often each of three points is real and generated, of 10


def discriminator_loss(game, logits):
  """The loss over the two sets, for one logit per point."""
  return game.discriminator(
    jnp.repeat(logits, P, total_repeat_length=10), jnp.repeat(logits, Q, total_repeat_length=10)
  )


BEST = {  # the discriminator that minimises each loss, and the divergence that it then measures
  "non_saturating": (np.log(P / Q), 2 * np.log(2) - 2 * scipy.spatial.distance.jensenshannon(P, Q) ** 2),
  "hinge": (np.sign(P - Q), 2 - np.abs(P - Q).sum() / 10),
  "least_squares": (P / (P + Q), 0.5 * np.sum(P * Q / (P + Q)) / 10),
}


@pytest.mark.parametrize("name", BEST)
def test_the_best_discriminator_measures_the_divergence(name):
  game, (logits, value) = getattr(adversarial, name), BEST[name]
  np.testing.assert_allclose(discriminator_loss(game, jnp.float32(logits)), value, rtol=1e-5)
  for shift in 0.1 * np.concatenate([np.eye(3), -np.eye(3)]):
    assert discriminator_loss(game, jnp.float32(logits + shift)) > value, "and nothing near it does better"


def test_the_best_lipschitz_function_measures_the_distance():
  """Real data to the right of generated data on a line: the best function of slope 1 is x, and the loss is -W1."""
  rng = np.random.default_rng(0)
  real, fake = rng.normal(size=50) + 20, rng.normal(size=50)
  loss = adversarial.wasserstein.discriminator(jnp.float32(real), jnp.float32(fake))
  np.testing.assert_allclose(loss, -scipy.stats.wasserstein_distance(real, fake), rtol=1e-5)


@pytest.mark.parametrize("name", ["non_saturating", "hinge", "least_squares", "wasserstein"])
def test_the_generator_wants_what_the_discriminator_does_not(name):
  game, fake = getattr(adversarial, name), jnp.array([-2.0, -0.5, 0.2])
  wish_g = -jax.grad(game.generator)(fake)
  wish_d = -jax.grad(lambda fake: game.discriminator(jnp.zeros(3), fake))(jnp.full(3, 0.5))
  assert np.all(wish_g > 0) and np.all(wish_d < 0)
  if name != "wasserstein":
    assert wish_g[0] > 0.1, "a generator that loses by far still has a slope"


def test_gradient_penalty_of_linear_functions():
  real, fake = jax.random.normal(jax.random.key(0), (2, 16, 2, 3))
  direction = jnp.full((2, 3), 6**-0.5)
  for norm, value in [(1.0, 0.0), (3.0, 4.0), (0.0, 1.0)]:
    critic = lambda x, norm=norm: norm * jnp.tensordot(x, direction, 2) + 7.0
    penalty = adversarial.gradient_penalty(jax.random.key(1), critic, real, fake)
    np.testing.assert_allclose(penalty, value, atol=1e-5)


def test_gradient_penalty_looks_between_the_data():
  """The logit is flat at all data, real x = 2 and generated x = 0, and has slope 1 between: the penalty is 0 there."""
  critic = lambda x: jnp.clip(x[:, 0], 0.25, 1.75)
  real, fake = jnp.full((4000, 1), 2.0), jnp.zeros((4000, 1))
  penalty = adversarial.gradient_penalty(jax.random.key(0), critic, real, fake)
  np.testing.assert_allclose(penalty, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / 4000))


def test_r1_of_a_quadratic():
  """logit = x^T A x / 2 + b x has gradient A x + b."""
  rng = np.random.default_rng(0)
  a, b, x = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=(20, 3))
  a = a + a.T
  expected = 0.5 * (np.linalg.norm(x @ a + b, axis=1) ** 2).mean()
  critic = lambda x: 0.5 * jnp.einsum("bi,ij,bj->b", x, jnp.float32(a), x) + x @ jnp.float32(b)
  np.testing.assert_allclose(adversarial.r1(critic, jnp.float32(x)), expected, rtol=1e-5)


def test_a_balanced_loss_moves_as_far_as_the_other():
  """|grad of 3 sum x| = 3 sqrt(n), |grad of |x|^2 / 2| = |x|; beside a loss without a slope the weight is finite."""
  x = jnp.array([[3.0, 0.0], [0.0, 4.0]])
  line, bowl = lambda x: 3 * x.sum(), lambda x: 0.5 * jnp.square(x).sum()
  np.testing.assert_allclose(adversarial.balance(line, bowl, x), 3 * 2 / 5, rtol=1e-6)
  np.testing.assert_allclose(adversarial.balance(bowl, line, x), 5 / (3 * 2), rtol=1e-6)
  slope = jax.grad(lambda x: adversarial.balance(line, bowl, x))(x)
  assert not slope.any(), "it is a weight, not a loss"
  assert np.isfinite(adversarial.balance(line, lambda x: 0.0 * x.sum(), x))
