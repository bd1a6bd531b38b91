"""Two players in one step: who moves when, on what data, and what they learn."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import resolve
from gen_jax.errors import InputError
from gen_jax.families.gan import GAN
from gen_jax.nets.dcgan import Discriminator, Generator
from gen_jax.nets.mlp import MLP
from gen_jax.ops import adversarial
from gen_jax.processes.adversary import Adversary
from gen_jax.steps import Optimizer
from gen_jax.types import Spec

LINE = Spec(shape=(1,), kind="vector")
DIGITS = Spec(shape=(8, 8, 1), kind="image", levels=17, classes=10)
LR = 0.1


class Linear(nn.Module):
  """One dense layer."""

  out: tuple[int, ...] = (1,)

  @nn.compact
  def __call__(self, x):
    return nn.Dense(int(np.prod(self.out)))(x).reshape(-1, *self.out)


def linear(**fields):
  """A GAN on the line of two linear players, by default with plain gradient descent for both."""
  sgd = Optimizer(rule="sgd", lr=LR, b1=0.0)
  adversary = {"net": Linear(), "optimizer": sgd, **fields.pop("adversary", {})}
  fields = {"optimizer": sgd, **fields, "adversary": Adversary(**adversary)}
  return GAN(spec=LINE, generator=Linear(), latent=1, **fields)


def dense(w, b):
  return {"params": {"Dense_0": {"kernel": jnp.float32([[w]]), "bias": jnp.float32([b])}}}


def weights(tree):
  layer = tree["params"]["Dense_0"]
  return float(layer["kernel"][0, 0]), float(layer["bias"][0])


def begin(family, x, w_g=0.0, b_g=2.0, w_d=0.5, b_d=-0.3):
  state, params = family.init(jax.random.key(0), {"x": x}), dense(w_g, b_g)
  known = {**state.extra["adversary"], "params": dense(w_d, b_d)}
  return state.replace(params=params, ema=jax.tree.map(jnp.copy, params), extra={"adversary": known})


def players(state):
  """The weights of the generator and of the discriminator."""
  return {"g": weights(state.params), "d": weights(state.extra["adversary"]["params"])}


def test_each_player_moves_by_its_own_gradient_on_the_right_data():
  """A generator that always says b, least squares, worked by hand: three turns on three parts, then the generator."""
  x = np.random.default_rng(0).normal(size=(12, 1))
  family = linear(adversary=dict(game=adversarial.least_squares), turns=3, ema_decay=0.5)
  state = begin(family, jnp.float32(x))
  new, metrics = jax.jit(family.step)(jax.random.key(1), state, {"x": jnp.float32(x)})

  b, a, e = 2.0, 0.5, -0.3
  losses = []
  for real in x.reshape(4, 3).T:  # every third row
    error_real, error_fake = a * real + e - 1, a * b + e
    losses.append(0.5 * (error_real**2).mean() + 0.5 * error_fake**2)
    a, e = a - LR * ((error_real * real).mean() + error_fake * b), e - LR * (error_real.mean() + error_fake)
  error = a * b + e - 1  # of the discriminator as it is after its turns
  np.testing.assert_allclose(players(new)["d"], (a, e), rtol=1e-5)
  np.testing.assert_allclose(players(new)["g"][1], b - LR * error * a, rtol=1e-5)
  np.testing.assert_allclose(metrics["loss_d"], np.mean(losses), rtol=1e-5)
  np.testing.assert_allclose(metrics["loss"], 0.5 * error**2, rtol=1e-5)
  assert int(new.step) == 1
  ema = weights(new.ema)[1]  # the first step of the average has decay 1/10
  np.testing.assert_allclose(ema, b + 0.9 * (weights(new.params)[1] - b), rtol=1e-5)
  assert jax.tree.structure(new.ema) == jax.tree.structure(new.params)


@pytest.mark.parametrize("still, moves", [("g", "d"), ("d", "g")])
def test_a_player_at_rest_is_not_moved_by_the_other(still, moves):
  rest = dict(optimizer=Optimizer(rule="sgd", lr=0.0))
  family = linear(**(rest if still == "g" else dict(adversary=rest)))
  x = jnp.ones((4, 1))
  state = begin(family, x, w_g=1.0)
  new, _ = jax.jit(family.step)(jax.random.key(1), state, {"x": x})
  assert players(new)[still] == players(state)[still]
  assert players(new)[moves] != players(state)[moves]


def test_every_turn_has_codes_of_its_own():
  """With the same codes again, both halves of a batch of equal rows would give the generator's mean twice."""
  seen = []
  family = linear(turns=2)
  record = lambda key: seen.append(np.asarray(jax.random.key_data(key)).tolist())
  sample = family.sample
  object.__setattr__(family, "sample", lambda key, *a: (jax.debug.callback(record, key), sample(key, *a))[1])
  jax.block_until_ready(family.step(jax.random.key(1), begin(family, jnp.ones((4, 1))), {"x": jnp.ones((4, 1))}))
  jax.effects_barrier()
  assert len({tuple(k) for k in seen}) == 3, "two turns of the discriminator and one of the generator"


def test_samples_come_to_have_the_mean_and_spread_of_the_data():
  adam = Optimizer(lr=2e-3, b1=0.0)
  adversary = Adversary(net=MLP(width=32, depth=2), r1=0.1, optimizer=adam)
  generator = MLP(width=16, depth=1)
  family = GAN(spec=LINE, generator=generator, adversary=adversary, latent=2, ema_decay=0.99, optimizer=adam)

  def step(state, i):
    key_x, key = jax.random.split(jax.random.fold_in(jax.random.key(0), i))
    return family.step(key, state, {"x": 1.5 + 0.5 * jax.random.normal(key_x, (128, 1))})

  @jax.jit
  def train(state):
    state, metrics = jax.lax.scan(step, state, jnp.arange(1500))
    return family.sample(jax.random.key(2), state.eval_params, 4000), metrics

  x, metrics = train(family.init(jax.random.key(1), {"x": jnp.zeros((128, 1))}))
  np.testing.assert_allclose([x.mean(), x.std()], [1.5, 0.5], atol=0.15)
  np.testing.assert_allclose(metrics["loss_d"][-200:].mean(), 2 * np.log(2), atol=0.1)  # it cannot tell


@pytest.mark.parametrize(
  "fields, adversary",
  [
    (dict(turns=2), dict(game=adversarial.hinge, spectral_norm=True, r1=1.0, r1_every=2)),
    (dict(ema_decay=None), dict(game=adversarial.wasserstein, gradient_penalty=10.0)),
  ],
)
def test_images(fields, adversary):
  adversary = Adversary(net=Discriminator(channels=(4, 8)), **adversary)
  family = GAN(spec=DIGITS, generator=Generator(channels=(8, 4)), adversary=adversary, latent=3, **fields)

  @jax.jit
  def run(key, x):
    state, metrics = family.step(key, family.init(key, {"x": x}), {"x": x})
    return metrics, family.sample(key, state.eval_params, 5)

  metrics, x = run(jax.random.key(0), jax.random.uniform(jax.random.key(1), (4, *DIGITS.shape), minval=-1))
  assert x.shape == (5, *DIGITS.shape) and np.abs(x).max() <= 1
  assert all(np.isfinite(v) for v in metrics.values())


@pytest.mark.parametrize(
  "fields, message",
  [
    (dict(turns=0), "turns = 0 should be at least 1"),
    (dict(adversary=dict(r1=-1.0)), "r1 = -1.0 should be at least 0"),
    (dict(adversary=dict(game="adversarial.hnge")), "did you mean 'adversarial.hinge'"),
  ],
)
def test_mistakes_are_one_clear_line(fields, message):
  with pytest.raises(InputError, match=message):
    resolve.build("families", {"name": "gan.GAN", **fields}, spec=DIGITS)


def test_a_batch_that_cannot_be_cut_is_refused():
  with pytest.raises(InputError, match="batch of 4 cannot be cut into turns = 3"):
    family, x = linear(turns=3), jnp.zeros((4, 1))
    family.step(jax.random.key(0), begin(family, x), {"x": x})
