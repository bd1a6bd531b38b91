"""Dequantizers around a density whose masses are known, and trained together with a diffusion model."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate, stats

from gen_jax.errors import InputError
from gen_jax.families.vdm import VDM
from gen_jax.nets.mlp import MLP
from gen_jax.processes import bounds, dequantizer
from gen_jax.steps import Optimizer
from gen_jax.types import Spec

LEVELS = 9
STEP = 2 / (LEVELS - 1)
PARTS = ((0.5, -0.42, 0.07), (0.3, 0.1, 0.15), (0.2, 0.55, 0.05))  # weight, mean, std: as narrow as the levels
SPEC = Spec(shape=(1, 1, 1), kind="image", levels=LEVELS)


class Pixel(nn.Module):
  """A small network of single pixels with one output that starts at zero."""

  out: int = 1

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    h = MLP(out=32, width=32, depth=1)(jax.nn.one_hot(jnp.round((x.reshape(-1) + 1) / STEP).astype(int), LEVELS))
    return nn.Dense(self.out, kernel_init=nn.initializers.zeros_init())(h).reshape(*x.shape[:-1], self.out)


def log_density(y):
  terms = [jnp.log(w) + jax.scipy.stats.norm.logpdf(y, m, s) for w, m, s in PARTS]
  return jax.nn.logsumexp(jnp.stack(terms), axis=0).sum((1, 2, 3))


def mass(x):
  """The mass of the interval of each level: what a bound bounds."""
  edges = np.asarray(x, np.float64).reshape(-1)[:, None] + np.array([-STEP / 2, STEP / 2])
  return sum(w * np.diff(stats.norm(m, s).cdf(edges))[:, 0] for w, m, s in PARTS)


def fit(q, x, steps=400):
  """The parameters of q after a short training of the bound, and from before."""
  tx = optax.adam(3e-2)
  start = q.start(jax.random.key(0), x)

  def loss(params, key):
    y, log_q = q.draw(key, params, x, LEVELS)
    return (log_q - log_density(y)).mean()

  def step(carry, n):
    params, opt = carry
    updates, opt = tx.update(jax.grad(loss)(params, jax.random.fold_in(jax.random.key(1), n)), opt)
    return (optax.apply_updates(params, updates), opt), None

  (params, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, jnp.arange(steps)))((start, tx.init(start)))
  return start, params


def test_training_closes_the_gap():
  """At the start the bound is the uniform one; in training it rises for every level, and stays below the mass.

  p(y) / q(y | x) has the mass for its expectation whatever q is: what is called log q is the density of the draws.
  """
  q, levels = dequantizer.Variational(net=Pixel()), np.linspace(-1, 1, LEVELS)
  levels = jnp.asarray(levels[mass(levels) > 1e-4], jnp.float32)
  many = jnp.repeat(levels, 20_000).reshape(-1, 1, 1, 1)
  start, params = fit(q, jnp.tile(levels, 64).reshape(-1, 1, 1, 1))

  def ratio(q, params):
    y, log_q = jax.jit(q.draw, static_argnums=3)(jax.random.key(2), params, many, LEVELS)
    return np.asarray(log_density(y) - log_q, np.float64).reshape(len(levels), -1)

  exact = np.log(mass(levels))
  first, uniform, last = ratio(q, start), ratio(dequantizer.Uniform(), {}), ratio(q, params)
  error = lambda r: 4 * r.std(1) / r.shape[1] ** 0.5
  assert (np.abs(first.mean(1) - uniform.mean(1)) < error(first) + error(uniform)).all()
  gap, gap_uniform = exact - last.mean(1), exact - uniform.mean(1)
  assert (gap > -error(last)).all() and (gap < gap_uniform + error(uniform)).all()
  assert (mass(levels) * gap).sum() < 0.1 * (mass(levels) * gap_uniform).sum()
  weights = np.exp(last - exact[:, None])
  assert (np.abs(weights.mean(1) - 1) < error(weights)).all()


class Normal(nn.Module):
  """The noise that is expected in xt on a variance-preserving path for N(0, 0.25) data, times a gain."""

  out: int = 1
  conditions: tuple = ()

  @nn.compact
  def __call__(self, x, time, cond=None, hidden=None, *, train=False):
    gain = 1 + self.param("gain", nn.initializers.zeros_init(), ())
    alpha2 = jax.nn.sigmoid(-8 * time)[:, None, None, None]
    return gain * jnp.sqrt(1 - alpha2) / (1 - alpha2 + alpha2 * 0.25) * x


def model(**kwargs):
  return VDM(**{"spec": SPEC, "net": Normal(), "dequantizer": dequantizer.Uniform(), "steps": 8, **kwargs})


@pytest.mark.parametrize(
  "likelihood, name",
  [
    (bounds.Continuous(), "variational bound, continuous time"),
    (bounds.Dequantized(), "probability flow, 64 steps, Hutchinson-1"),
  ],
)
def test_a_model_of_densities_bounds_masses(likelihood, name):
  """The exact model of normal data: with uniform noise its bound is E[log p(y)] + log(step); the loss agrees."""
  family, x = model(likelihood=likelihood), jnp.tile(jnp.linspace(-1, 1, LEVELS), 20_000).reshape(-1, 1, 1, 1)
  state = jax.jit(family.init)(jax.random.key(0), {"x": x})
  bound = jax.jit(lambda x: family.log_prob_bound(jax.random.key(1), state.params, x, num=2))(x)
  law, levels = stats.norm(0, 0.5), np.linspace(-1, 1, LEVELS)
  expected = [integrate.quad(law.logpdf, c - STEP / 2, c + STEP / 2)[0] / STEP + np.log(STEP) for c in levels]
  bound = np.asarray(bound, np.float64).reshape(-1, LEVELS)
  error = bound.std(0) / len(bound) ** 0.5
  assert (np.abs(bound.mean(0) - expected) < 4 * error + 0.01).all() and error.max() < 0.06
  loss, _ = jax.jit(lambda x: family.loss(state.params, state, jax.random.key(2), {"x": x}))(x)
  assert float(loss) == pytest.approx(-np.mean(expected), abs=0.03)
  assert family.bound() == f"{name}, uniform dequantization"


def test_it_is_trained_with_the_model():
  """Both move, the bound gains on uniform noise in the same model, and samples are levels."""
  family = model(dequantizer=dequantizer.Variational(net=Pixel()), optimizer=Optimizer(lr=3e-3))
  x = jnp.tile(jnp.linspace(-1, 1, LEVELS), 16).reshape(-1, 1, 1, 1)
  state = start = jax.jit(family.init)(jax.random.key(0), {"x": x})
  assert set(state.params) == {"params", "schedule", "dequantizer"}
  run = lambda c, n: (family.step(jax.random.fold_in(jax.random.key(1), n), c, {"x": x})[0], None)
  state, _ = jax.jit(lambda s: jax.lax.scan(run, s, jnp.arange(300)))(state)
  changed = jax.tree.map(lambda a, b: bool((a != b).any()), start.params, state.params)
  assert all(jax.tree.leaves(changed))
  params, many = state.params, jnp.tile(x, (100, 1, 1, 1))
  uniform = {**params, "dequantizer": start.params["dequantizer"]}
  bound = jax.jit(family.log_prob_bound)
  value = [float(bound(jax.random.key(3), p, many).mean()) for p in (params, uniform)]
  assert value[0] > value[1] + 0.001, value
  samples = np.asarray(jax.jit(family.sample, static_argnums=2)(jax.random.key(4), params, 64))
  np.testing.assert_allclose((samples + 1) / STEP, np.round((samples + 1) / STEP), atol=1e-5)


@pytest.mark.parametrize(
  "fields, message",
  (
    (dict(clip=True), "set clip=False"),
    (dict(spec=Spec(shape=(2,), kind="vector")), "no levels"),
  ),
)
def test_bad_input(fields, message):
  with pytest.raises(InputError, match=message):
    model(**fields)
