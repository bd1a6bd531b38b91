"""The autoencoder: codes of unit scale, the best linear ones, a codebook that belongs to the decoder."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.data.digits import Digits
from gen_jax.data.synthetic import Ring
from gen_jax.errors import InputError
from gen_jax.families.autoencoder import Autoencoder
from gen_jax.family import HasLatents
from gen_jax.nets.autoencoder import Decoder, Encoder
from gen_jax.nets.layers import fold, unfold
from gen_jax.ops import distances, regularizers
from gen_jax.steps import Optimizer

KEY = jax.random.key(0)
SOURCE = Digits()
STEPS = 600


class Fold(nn.Module):
  """Codes are linear in the patches of 2x2 pixels."""

  out: int = 1

  @nn.compact
  def __call__(self, x):
    return nn.Dense(self.out)(fold(x, 2))


class Unfold(nn.Module):
  """Patches are linear in the codes."""

  out: tuple[int, ...] = (1, 1, 1)

  @nn.compact
  def __call__(self, z):
    return unfold(nn.Dense(4 * self.out[-1])(z), 2)


def family(regularizer, **fields):
  optimizer = Optimizer(lr=2e-2, schedule="cosine", decay_steps=STEPS)
  fields = dict(encoder=Fold(), decoder=Unfold(), distance=distances.l2(), latent=2, optimizer=optimizer) | fields
  return Autoencoder(spec=SOURCE.spec, regularizer=regularizer, **fields)


@functools.cache
def images():
  rows = SOURCE.split("train")
  return jnp.asarray(SOURCE.prepare(KEY, rows[np.arange(len(rows))], False)["x"])


@functools.cache
def trained(regularizer):
  """(family, state, the metrics of each step) after some steps on digits."""
  model, x = family(regularizer), images()
  batch = lambda key: {"x": x[jax.random.randint(key, (64,), 0, len(x))]}

  def body(state, n):
    key_batch, key_step = jax.random.split(jax.random.fold_in(KEY, n))
    return model.step(key_step, state, batch(key_batch))

  run = jax.jit(lambda: jax.lax.scan(body, model.init(KEY, batch(KEY)), jnp.arange(STEPS)))
  return model, *run()


both = pytest.mark.parametrize("regularizer", [regularizers.KL(), regularizers.VQ(size=32)], ids=["KL", "VQ"])


@both
def test_codes_have_unit_scale_and_come_back_as_images(regularizer):
  model, state, metrics = trained(regularizer)
  assert isinstance(model, HasLatents)
  x = images()
  z = jax.jit(model.encode)(KEY, state.params, x)
  assert z.shape == (1442, 4, 4, 2)
  # a hundred batches of 64 differ from all images by about 1 / sqrt(6400), with the encoder's last steps on top
  np.testing.assert_allclose(z.mean((0, 1, 2)), 0.0, atol=0.05)
  np.testing.assert_allclose(z.std((0, 1, 2)), 1.0, atol=0.05)
  back = jax.jit(model.decode)(KEY, state.params, z)
  psnr = 10 * np.log10(4 / np.square(back - x).reshape(len(x), -1).mean(-1))
  assert psnr.mean() == pytest.approx(float(metrics["psnr"][-100:].mean()), abs=0.3)  # as in training


@dataclasses.dataclass(frozen=True)
class Plain:
  """Codes are the encoder's output, and nothing bounds them."""

  heads = 1

  def start(self, key, channels):
    return {}, {}

  def encode(self, key, h):
    return h

  def decode(self, params, z):
    return z

  def train(self, key, params, memory, h):
    return regularizers.Regularized(h, h, 0.0, params, memory, {})


def test_a_linear_autoencoder_finds_the_principal_components():
  """No two linear features of a patch tell more of it: what is left is the variance of the other components."""
  _, _, metrics = trained(Plain())
  patches = np.asarray(fold(images(), 2), np.float64).reshape(-1, 4)
  least = np.linalg.eigvalsh(np.cov(patches.T, bias=True))[:2].sum() / 4
  assert float(metrics["reconstruction"][-100:].mean()) == pytest.approx(least, rel=0.03)


@both
def test_what_decoding_needs_is_in_the_parameters(regularizer):
  model, state, metrics = trained(regularizer)
  assert set(state.extra) == {"memory"} and int(state.step) == STEPS
  assert set(state.params) == {"encoder", "decoder", "regularizer", "moments"}
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))
  assert metrics["loss"][-10:].mean() < 0.7 * metrics["loss"][:10].mean()
  assert metrics["psnr"][-10:].mean() > metrics["psnr"][:10].mean() + 1.5
  x = jax.jit(model.sample, static_argnums=2)(KEY, state.params, 3)
  assert x.shape == (3, 8, 8, 1) and jnp.abs(x).max() <= 1.0


def test_moments_are_averages_that_start_at_the_first_batch():
  model = family(regularizers.VQ(size=4), encoder=Shift())
  state = model.init(KEY, {"x": jnp.zeros((2, 8, 8, 1))})
  step = jax.jit(model.step)
  batches = jnp.array([1.0, 4.0, -2.0])[:, None, None, None, None] * jnp.ones((3, 2, 8, 8, 1))
  for x in batches:
    state, _ = step(KEY, state, {"x": x})
  np.testing.assert_allclose(state.params["moments"]["mean"], [1.0, 2.0], rtol=1e-5)  # (1 + 4 - 2) / 3, and twice
  np.testing.assert_allclose(state.params["moments"]["square"], [7.0, 28.0], rtol=1e-5)
  z = model.encode(KEY, state.params, batches[0])
  np.testing.assert_allclose(z, np.zeros(z.shape), atol=1e-5)


class Shift(Fold):
  """Halves the image by leaving lines out; channel k is k times the image."""

  def __call__(self, x):
    return x[:, ::2, ::2] * jnp.arange(1.0, self.out + 1)


def test_the_codebook_belongs_to_the_decoder():
  """Codes come before the codebook, so that a model of them may miss a vector by a little."""
  model, state, _ = trained(regularizers.VQ(size=32))
  x = images()[:20]
  z = model.encode(KEY, state.params, x)
  mean, square = state.params["moments"]["mean"], state.params["moments"]["square"]
  raw = (z * jnp.sqrt(square - mean**2) + mean).reshape(-1, 2)
  distance = jnp.linalg.norm(raw[:, None] - state.params["regularizer"]["codebook"], axis=-1)
  assert distance.min(1).mean() > 1e-3, "a code is no vector of the codebook"
  two = jnp.sort(distance, axis=1)[:, :2]
  safe = ((two[:, 1] - two[:, 0]) / 2).reshape(z.shape[:-1])  # so far a code can go and have the same nearest vector
  step = 0.5 * safe[..., None] / 2**0.5 / jnp.sqrt(square - mean**2)
  np.testing.assert_allclose(model.decode(KEY, state.params, z + step), model.decode(KEY, state.params, z), atol=1e-5)


def test_bad_settings_are_refused():
  with pytest.raises(InputError, match=r"is for images: for vectors choose vae.VAE"):
    Autoencoder(spec=Ring().spec)
  with pytest.raises(InputError, match=r"latent = 0 should be at least 1"):
    family(regularizers.KL(), latent=0)
  nets = dict(encoder=Encoder(channels=8, multipliers=(1, 1, 1)), decoder=Decoder(channels=8, multipliers=(1, 1)))
  with pytest.raises(InputError, match=r"decoder: it takes codes of 4x4, not 2x2"):
    jax.eval_shape(family(regularizers.KL(), **nets).init, KEY, {"x": jnp.zeros((1, 8, 8, 1))})
