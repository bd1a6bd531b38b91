"""Variational autoencoders, checked where log p(x) is known in closed form."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gen_jax import resolve
from gen_jax.errors import InputError
from gen_jax.families import vae
from gen_jax.families.vae import VAE
from gen_jax.family import HasBound, HasLatents, State
from gen_jax.nets.conv import Decoder, Encoder
from gen_jax.nets.mlp import MLP
from gen_jax.ops.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian
from gen_jax.types import Spec

PLANE = Spec(shape=(3,), kind="vector")
DIGITS = Spec(shape=(8, 8, 1), kind="image", levels=17, classes=10)
SCALE = 0.6


class Linear(nn.Module):
  """One dense layer."""

  out: tuple[int, ...] = (1,)

  @nn.compact
  def __call__(self, x):
    return nn.Dense(int(np.prod(self.out)))(x).reshape(-1, *self.out)


def linear(seed=0):
  """A linear VAE, random parameters for it, and data."""
  family = VAE(spec=PLANE, encoder=Linear(), decoder=Linear(), latent=2, likelihood=Gaussian(scale=SCALE))
  rng = np.random.default_rng(seed)
  x = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
  params = family.init(jax.random.key(0), {"x": x}).params
  params = jax.tree.map(lambda p: jnp.asarray(0.4 * rng.normal(size=p.shape), jnp.float32), params)
  # A posterior near the prior is wider than the true one, so that importance weights are bounded.
  return family, {**params, "encoder": jax.tree.map(lambda p: 0.25 * p, params["encoder"])}, x


def log_marginal(params, x):
  """log N(x; b, W W^T + scale^2 I)."""
  layer = params["decoder"]["params"]["Dense_0"]
  w, b = np.float64(layer["kernel"]), np.float64(layer["bias"])
  return scipy.stats.multivariate_normal(b, w.T @ w + SCALE**2 * np.eye(3)).logpdf(np.float64(x))


def bounds(family, params, x, num, repeats):
  """The mean of `repeats` bounds and its standard error, per example."""
  keys = jax.random.split(jax.random.key(num), repeats)
  values = jax.jit(jax.vmap(lambda key: family.log_prob_bound(key, params, x, num=num)))(keys)
  return np.asarray(values).mean(0), np.asarray(values).std(0) / np.sqrt(repeats)


def test_the_elbo_of_a_linear_model_is_exact():
  """E_q[log p(x | z)] and the KL of a linear model with a diagonal q are known by hand."""
  family, params, x = linear()
  mean, error = bounds(family, params, x, num=1, repeats=4000)
  layer = params["decoder"]["params"]["Dense_0"]
  mu, log_std = (np.float64(a) for a in family.posterior(params, x))
  w, b, var = np.float64(layer["kernel"]), np.float64(layer["bias"]), np.exp(2 * log_std)
  misfit = ((np.float64(x) - mu @ w - b) ** 2).sum(-1) + (var @ (w**2)).sum(-1)
  fit = -0.5 * misfit / SCALE**2 - 3 * np.log(SCALE) - 1.5 * np.log(2 * np.pi)
  kl = 0.5 * (var + mu**2 - 1).sum(-1) - log_std.sum(-1)
  assert np.all(np.abs(mean - (fit - kl)) < 4.5 * error)


def test_bounds_tighten_to_the_exact_likelihood(monkeypatch):
  family, params, x = linear()
  monkeypatch.setattr(vae, "_CHUNK", 4 * x.size)  # many chunks, which must differ
  exact = log_marginal(params, x)
  means = []
  for num, repeats in [(1, 2000), (2, 2000), (16, 1000), (1024, 100)]:
    mean, error = bounds(family, params, x, num, repeats)
    assert np.all(mean < exact + 4 * error + 1e-3), "never above log p(x)"
    means.append(mean)
  for looser, tighter in itertools.pairwise(means):
    assert np.all(tighter > looser)
  np.testing.assert_allclose(means[-1], exact, atol=0.03)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_the_bound_is_the_mean_weight_however_it_is_chunked(chunk, monkeypatch):
  """With a posterior equal to the prior and a decoder blind to z every weight is p(x): no sum over them may err."""
  family, params, x = linear()
  params = jax.tree.map(jnp.zeros_like, params)
  monkeypatch.setattr(vae, "_CHUNK", chunk * x.size)
  np.testing.assert_allclose(
    family.log_prob_bound(jax.random.key(0), params, x, num=50), log_marginal(params, x), rtol=1e-5
  )


def test_the_exact_posterior_makes_every_bound_exact():
  """An orthogonal decoder has a diagonal posterior, which a linear encoder reaches: IWAE-k is log p(x), noiseless."""
  family, params, x = linear()
  gain = np.array([1.5, 0.7])
  w, b = np.diag(gain) @ np.eye(2, 3), np.array([0.1, -0.2, 0.3])
  var = 1 / (1 + gain**2 / SCALE**2)
  encode = (w.T / SCALE**2) * var  # [3, 2]: the posterior mean is (x - b) @ encode
  kernel = np.concatenate([encode, np.zeros((3, 2))], axis=1)
  bias = np.concatenate([-b @ encode, 0.5 * np.log(var)])
  dense = lambda kernel, bias: {"params": {"Dense_0": {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}}}
  params = {"center": jnp.zeros(3), "encoder": dense(kernel, bias), "decoder": dense(w, b)}
  for num in (2, 5):
    np.testing.assert_allclose(
      family.log_prob_bound(jax.random.key(num), params, x, num=num), log_marginal(params, x), rtol=1e-4
    )


def test_training_reaches_the_likelihood_of_the_true_model():
  """Data of a factor model with a diagonal posterior: the best ELBO is the likelihood of that model."""
  rng = np.random.default_rng(0)
  w = np.array([[1.5, 0, 0], [0, 0.7, 0]])
  x = jnp.asarray(rng.normal(size=(4096, 2)) @ w + SCALE * rng.normal(size=(4096, 3)), jnp.float32)
  best = scipy.stats.multivariate_normal(np.zeros(3), w.T @ w + SCALE**2 * np.eye(3)).logpdf(x).mean()
  optimizer = resolve.build("steps", {"name": "Optimizer", "lr": 0.03, "schedule": "cosine", "decay_steps": 2000})
  family = VAE(
    spec=PLANE, encoder=Linear(), decoder=Linear(), latent=2, likelihood=Gaussian(scale=SCALE), optimizer=optimizer
  )

  def step(state, i):
    return family.step(jax.random.fold_in(jax.random.key(1), i), state, {"x": x})

  _, metrics = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(2000)))(family.init(jax.random.key(0), {"x": x}))
  np.testing.assert_allclose(metrics["elbo"][-20:].mean(), best, atol=0.03)
  np.testing.assert_allclose(metrics["loss"], -metrics["elbo"], rtol=1e-5)
  np.testing.assert_allclose(metrics["elbo"], metrics["reconstruction"] - metrics["kl"], rtol=1e-4, atol=1e-4)


def loss_at(family, params, x, step=0):
  state = State(jnp.asarray(step), params, None)
  value, (metrics, _) = family.loss(params, state, jax.random.key(3), {"x": x})
  return float(value), {k: float(v) for k, v in metrics.items()}


def test_beta_and_warm_up_weigh_the_kl():
  family, params, x = linear()
  _, m = loss_at(family, params, x)
  bent = VAE(**{**vars_of(family), "beta": 3.0, "kl_warmup": 10})
  for step, weight in [(0, 0.3), (4, 1.5), (9, 3.0), (500, 3.0)]:
    value, metrics = loss_at(bent, params, x, step)
    np.testing.assert_allclose(value, weight * m["kl"] - m["reconstruction"], rtol=1e-5)
    assert metrics == m, "metrics are the true bound"


def test_free_bits_stop_the_pressure_on_entries_below_them():
  family, params, x = linear()
  free = VAE(**{**vars_of(family), "free_bits": 1e3})
  value, m = loss_at(free, params, x)
  np.testing.assert_allclose(value, 2 * 1e3 - m["reconstruction"], rtol=1e-5)
  mean, log_std = family.posterior(params, x)
  kl = (0.5 * (jnp.exp(2 * log_std) + mean**2 - 1) - log_std).mean(0)
  between = float(kl.mean())  # above one entry's KL and below the other's
  value, m = loss_at(VAE(**{**vars_of(family), "free_bits": between}), params, x)
  np.testing.assert_allclose(value, between + float(kl.max()) - m["reconstruction"], rtol=1e-5)


def vars_of(family):
  return {k: v for k, v in vars(family).items() if not k.startswith("_")}


CONV = (Encoder(channels=(4, 8)), Decoder(channels=(8, 4)))
DENSE = (MLP(width=8), MLP(width=8))


@pytest.mark.parametrize(
  "likelihood, nets",
  [(DiscretizedLogistic(), CONV), (DiscretizedLogistic(), DENSE), (Bernoulli(), DENSE), (Gaussian(), DENSE)],
)
def test_images(likelihood, nets):
  levels = 2 if isinstance(likelihood, Bernoulli) else 17
  spec = Spec(shape=(7, 8, 2), kind="image", levels=levels)
  family = VAE(spec=spec, encoder=nets[0], decoder=nets[1], latent=3, likelihood=likelihood, ema_decay=0.9)
  assert isinstance(family, HasBound) and isinstance(family, HasLatents)

  @jax.jit
  def run(key, x):
    state, metrics = family.step(key, family.init(key, {"x": x}), {"x": x})
    code = family.encode(key, state.params, x)
    bound = family.log_prob_bound(key, state.params, x, num=3)
    return metrics, code, family.decode(key, state.params, code), family.sample(key, state.eval_params, 5), bound

  x = jnp.sign(jax.random.normal(jax.random.key(1), (4, *spec.shape)))
  metrics, *arrays = run(jax.random.key(0), x)
  assert [a.shape for a in arrays] == [(4, 3), x.shape, (5, *spec.shape), (4,)]
  assert all(np.all(np.isfinite(a)) for a in [*metrics.values(), *arrays])


def test_a_density_of_levels_is_called_one():
  """Its bits are not those of a mass, with which tables would compare them."""
  make = lambda spec, likelihood: VAE(spec=spec, encoder=MLP(), decoder=MLP(), likelihood=likelihood)
  assert make(DIGITS, Gaussian()).bound() == "ELBO of a density"
  assert make(DIGITS, DiscretizedLogistic()).bound(5) == "IWAE-5"
  assert make(PLANE, Gaussian()).bound() == "ELBO"


def test_samples_are_drawn_or_means():
  family = VAE(spec=Spec(shape=(4, 4, 1), kind="image", levels=2), encoder=MLP(), decoder=MLP(), likelihood=Bernoulli())
  x = jnp.ones((2, 4, 4, 1))
  params = family.init(jax.random.key(0), {"x": x}).params
  assert set(np.unique(family.sample(jax.random.key(1), params, 8))) == {-1.0, 1.0}
  means = VAE(**{**vars_of(family), "draw": "mean"}).sample(jax.random.key(1), params, 8)
  assert np.all(np.abs(means) < 1)


@pytest.mark.parametrize(
  "fields, message",
  [
    (dict(likelihood="likelihoods.Bernoulli"), "17 levels"),
    (dict(latent=0), "latent = 0"),
    (dict(beta=-1.0), "beta = -1.0 should be at least 0"),
    (dict(likelihood="likelihoods.Bernouli"), "did you mean 'likelihoods.Bernoulli'"),
  ],
)
def test_mistakes_are_one_clear_line(fields, message):
  with pytest.raises(InputError, match=message):
    resolve.build("families", {"name": "vae.VAE", **fields}, spec=DIGITS)
