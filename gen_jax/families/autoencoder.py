"""Autoencoder: images become a smaller grid of codes, for other models to learn, and come back."""

import dataclasses
import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, at_least
from gen_jax.family import State
from gen_jax.ops.distances import Distance
from gen_jax.ops.psnr import psnr
from gen_jax.ops.regularizers import Regularizer
from gen_jax.resolve import part
from gen_jax.steps import Optimizer, descend, start
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree, Spec

_DECAY = 0.99  # of the moments of the codes: over the last hundred batches
_LEAST = 1e-4  # standard deviation that a channel has at least, so that an empty one can be divided by it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Autoencoder:
  """The first stage of latent diffusion: arXiv:2112.10752, section 3.1, without its perceptual and adversarial terms.

  Training minimises distance(decoder(z), x) + the regularizer's penalty. The moments of every channel of the codes are
  averaged as training goes on, and the codes that `encode` gives have mean 0 and standard deviation 1, so that noise
  means to a model of codes what it means to one of images.

  Samples are decoded noise: every entry of the code is normal and independent of all others. What images have in common
  beyond the moments of their codes is left to a model of the codes, families/latent.py.

  Attributes:
    spec: the data, images.
    encoder: a network x [B, H, W, C] -> [B, h, w, out].
    decoder: a network z [B, h, w, latent] -> [B, *out].
    regularizer: what keeps the codes in bounds.
    distance: of an image and its reconstruction; a distance of features can be added to it here.
    latent: channels of the code.
    optimizer: the optimiser.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  spec: Spec
  encoder: nn.Module = part("nets", "autoencoder.Encoder")
  decoder: nn.Module = part("nets", "autoencoder.Decoder")
  regularizer: Regularizer = part("ops", "regularizers.KL")
  distance: Distance = part("ops", "distances.l1")
  latent: int = 4
  optimizer: Optimizer = part("steps", "Optimizer")

  conditions: ClassVar[tuple[str, ...]] = ()
  evaluations: ClassVar[int] = 1

  def __post_init__(self):
    if self.spec.kind != "image":
      raise InputError("autoencoder.Autoencoder is for images: for vectors choose vae.VAE")
    at_least(1, latent=self.latent)

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step.

    Raises:
      InputError: encoder and decoder do not fit each other.
    """
    key_encoder, key_decoder, key_regularizer = jax.random.split(key, 3)
    h, encoder = self._encoder.init_with_output(key_encoder, batch["x"])
    regularizer, memory = self.regularizer.start(key_regularizer, self.latent)
    params = {
      "encoder": encoder,
      "decoder": self._decoder.init(key_decoder, h[..., : self.latent]),
      "regularizer": regularizer,
      "moments": {"mean": jnp.zeros(self.latent), "square": jnp.ones(self.latent)},
    }
    return start(params, self.optimizer, memory=memory)

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One step of gradient descent on `loss`, and one of what moves without a gradient."""
    state, metrics = descend(self.loss, self.optimizer, key, state, batch)
    moved = state.extra["moved"]
    return state.replace(params={**state.params, **moved}, extra={"memory": state.extra["memory"]}), metrics

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """The error of the reconstruction and the penalty; in `extra`, what `step` moves without a gradient."""
    x = batch["x"]
    h = self._encoder.apply(params["encoder"], x)
    made = self.regularizer.train(key, params["regularizer"], state.extra["memory"], h)
    out = self._decoder.apply(params["decoder"], made.seen)
    reconstruction = self.distance(out, x).mean()
    moments = _follow(params["moments"], made.codes, state.step)
    extra = {"memory": made.memory, "moved": {"regularizer": made.params, "moments": moments}}
    metrics = {"reconstruction": reconstruction, "psnr": psnr(jnp.clip(out, -1, 1), x).mean(), **made.metrics}
    return reconstruction + made.penalty, (metrics, jax.lax.stop_gradient(extra))

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples, [num, *shape]: decoded noise."""
    del cond
    key_z, key_x = jax.random.split(key)
    image = jax.ShapeDtypeStruct((num, *self.spec.shape), jnp.float32)
    code = jax.eval_shape(self.encode, key, params, image)
    return self.decode(key_x, params, jax.random.normal(key_z, code.shape))

  def encode(self, key: Key, params: PyTree, x: Array) -> Array:
    """A code of x, of unit scale: [B, h, w, latent]."""
    z = self.regularizer.encode(key, self._encoder.apply(params["encoder"], x))
    mean, std = _scale(params["moments"])
    return (z - mean) / std

  def decode(self, key: Key, params: PyTree, z: Array) -> Array:
    """The image of a code z [B, h, w, latent] of unit scale, [B, *shape] in [-1, 1]; `key` is not used."""
    del key
    mean, std = _scale(params["moments"])
    seen = self.regularizer.decode(params["regularizer"], z * std + mean)
    return jnp.clip(self._decoder.apply(params["decoder"], seen), -1.0, 1.0)

  @functools.cached_property
  def _encoder(self) -> nn.Module:
    return self.encoder.clone(out=self.regularizer.heads * self.latent)

  @functools.cached_property
  def _decoder(self) -> nn.Module:
    return self.decoder.clone(out=self.spec.shape)


def _follow(moments: PyTree, z: Array, step: Array) -> PyTree:
  """The moving averages of every channel's first two moments, after a batch z [B, ..., C] and `step` earlier ones."""
  decay = jnp.minimum(_DECAY, step / (step + 1.0))  # the plain mean of all batches, until it is over a hundred of them
  z = z.reshape(-1, z.shape[-1])
  seen = {"mean": z.mean(0), "square": jnp.square(z).mean(0)}
  return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, moments, seen)


def _scale(moments: PyTree) -> tuple[Array, Array]:
  """Mean and standard deviation of every channel."""
  mean = moments["mean"]
  return mean, jnp.sqrt(jnp.maximum(moments["square"] - jnp.square(mean), _LEAST**2))
