"""Bounds around denoisers that are exact, where every term has a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from gen_jax.errors import InputError
from gen_jax.ops.divergence import Exact, Hutchinson
from gen_jax.ops.shapes import expand
from gen_jax.processes import bounds, gaussian
from gen_jax.run import compile as compiling
from gen_jax.solvers.base import half_log_snr

STD, DIM, NUM = 0.6, 3, 40_000
PATHS = {"linear": gaussian.linear(), "edm": gaussian.edm(sigma_min=0.02), "rectified": gaussian.rectified(t_min=0.01)}


def normal_denoiser(path):
  """E[x0 | xt] for x0 ~ N(0, STD^2)."""

  def denoise(t, x):
    a, s = expand(path.alpha(t), x), expand(path.sigma(t), x)
    return a * STD**2 / ((a * STD) ** 2 + s**2) * x

  return denoise


def snr_at(path, t):
  return np.exp(2 * np.asarray(half_log_snr(path, jnp.asarray(t)), np.float64))


def ends(path):
  """E[log p(x | z_min)] - KL at the noisy end for N(0, STD^2) data, one coordinate."""
  low, high = snr_at(path, path.t_min), snr_at(path, path.t_max)
  fit = 0.5 * np.log(low / (2 * np.pi)) - 0.5 * low / (low + STD**-2)
  return fit - 0.5 * high * STD**2


@pytest.fixture(scope="module")
def data():
  return STD * jax.random.normal(jax.random.key(0), (NUM, DIM))


@pytest.mark.parametrize("name", PATHS)
def test_continuous(name, data):
  """The integral of snr' / (snr + 1 / STD^2) is a logarithm; and the bound is all but tight."""
  path = PATHS[name]
  value = jax.jit(lambda x: bounds.Continuous()(jax.random.key(1), path, normal_denoiser(path), x, 0, 2))(data)
  low, high = snr_at(path, path.t_min) + STD**-2, snr_at(path, path.t_max) + STD**-2
  expected = DIM * (ends(path) - 0.5 * np.log(low / high))
  assert value.shape == (NUM,)
  assert float(value.mean()) == pytest.approx(expected, abs=5 * float(value.std()) / NUM**0.5)
  assert expected == pytest.approx(-DIM * stats.norm(0, STD).entropy(), abs=0.02)


@pytest.mark.parametrize("steps", (10, 100))
def test_discrete(steps, data):
  """A sum over the steps, which falls short of the integral as 1 / steps."""
  path = PATHS["linear"]
  bound = bounds.Discrete(steps=steps)
  value = compiling.jit(lambda x: bound(jax.random.key(1), path, normal_denoiser(path), x, 0, 2))(data)
  snr = snr_at(path, np.linspace(path.t_max, path.t_min, steps + 1).astype(np.float32))
  expected = DIM * (ends(path) - 0.5 * np.sum((snr[1:] - snr[:-1]) / (snr[:-1] + STD**-2)))
  assert float(value.mean()) == pytest.approx(expected, abs=5 * float(value.std()) / NUM**0.5)
  assert str(steps) in bound.name(0)


def test_learned_variance(data):
  """With the variance of q(x_s | x_t), which is normal here, ten steps lose nothing: each costs 1/2 log of what it
  gains, (snr(s) + 1 / STD^2) / (snr(t) + 1 / STD^2), and those telescope."""
  path, steps = PATHS["linear"], 10

  def share(t, x):
    s = t - (path.t_max - path.t_min) / steps
    gain = (jnp.exp(2 * half_log_snr(path, s)) + STD**-2) / (jnp.exp(2 * half_log_snr(path, t)) + STD**-2)
    return expand(jnp.log(gain) / (2 * jnp.log(path.sigma(t) / path.sigma(s))), x) * jnp.ones_like(x)

  bound = bounds.Discrete(steps=steps)
  value = jax.jit(lambda x: bound(jax.random.key(1), path, normal_denoiser(path), x, 0, 2, share))(data)
  low, high = snr_at(path, path.t_min) + STD**-2, snr_at(path, path.t_max) + STD**-2
  expected = DIM * (ends(path) - 0.5 * np.log(low / high))
  assert float(value.mean()) == pytest.approx(expected, abs=5 * float(value.std()) / NUM**0.5)


def test_levels_are_a_mass():
  """Pixels that are one of three levels with equal probability: log 3 nats each, and the bound is tight."""
  path, values = gaussian.cosine(), jnp.array([-1.0, 0.0, 1.0])

  def denoise(t, x):
    a, s = expand(path.alpha(t), x)[..., None], expand(path.sigma(t), x)[..., None]
    return (jax.nn.softmax(-0.5 * jnp.square((x[..., None] - a * values) / s)) * values).sum(-1)

  x = jax.random.choice(jax.random.key(0), values, (20_000, 2, 2, 1))
  value = jax.jit(lambda x: bounds.Continuous()(jax.random.key(1), path, denoise, x, 3, 2))(x)
  assert float(value.mean()) == pytest.approx(-4 * np.log(3), abs=5 * float(value.std()) / 20_000**0.5 + 1e-3)


@pytest.mark.parametrize("divergence", (Exact(), Hutchinson()), ids=("exact", "hutchinson"))
def test_dequantized(divergence):
  """The mean of a normal log density over the interval of each level, and the log of its width."""
  path, levels = gaussian.rectified(), 5
  x = jnp.tile(jnp.linspace(-1, 1, levels), 200)[:, None]
  bound = bounds.Dequantized(flow=bounds.Flow(steps=32, divergence=divergence))
  value = jax.jit(lambda x: bound(jax.random.key(0), path, normal_denoiser(path), x, levels, 8))(x)
  log_p, step = stats.norm(0, STD).logpdf, 2 / (levels - 1)
  for i, level in enumerate(np.linspace(-1, 1, levels)):
    expected = integrate.quad(log_p, level - step / 2, level + step / 2)[0] / step + np.log(step)
    mass = np.log(stats.norm(0, STD).cdf(level + step / 2) - stats.norm(0, STD).cdf(level - step / 2))
    assert expected < mass
    assert float(value[i::levels].mean()) == pytest.approx(expected, abs=0.05)


def test_bad_input():
  with pytest.raises(InputError, match="at least 1"):
    bounds.Discrete(steps=0)
