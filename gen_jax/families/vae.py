"""Variational autoencoder: a decoder explains the data, an encoder guesses the codes it would need."""

import dataclasses
import functools
import math
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.errors import at_least
from gen_jax.family import State
from gen_jax.ops import gaussians
from gen_jax.ops.likelihoods import Likelihood
from gen_jax.resolve import part
from gen_jax.steps import Optimizer, descend, start
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree, Spec

_CHUNK = 2**22  # numbers that the decoder makes at once in `log_prob_bound`: 16 MB


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAE:
  """Gaussian codes z, data x given z: arXiv:1312.6114.

  Training maximises E_q[log p(x | z)] - beta KL(q(z | x) || p(z)) (eq. 3; beta as in beta-VAE, 1804.03599), with
  p(z) = N(0, I) and q(z | x) = N(mean(x), diag std(x)^2), the KL in closed form (appendix B).

  The encoder reads x - center. The center is learned, and starts at the mean of the first batch: without it, what all
  data have in common swamps what tells them apart, and training ends some nats short.

  Attributes:
    spec: the data.
    encoder: a network x [B, *shape] -> [B, 2, latent]: means and log standard deviations.
    decoder: a network z [B, latent] -> [B, *shape[:-1], shape[-1] * heads] for the `heads` of the likelihood.
    likelihood: p(x | z), from ops/likelihoods.py.
    latent: size of the code.
    beta: weight of the KL.
    kl_warmup: steps over which that weight rises from 0, linearly.
    free_bits: nats of KL that each entry of the code has for nothing: the mean over the batch of an entry's KL counts
      only as far as it exceeds this (1606.04934, appendix C.8, with groups of one entry). Not part of any metric.
    draw: what a sample is: "sample" draws x from p(x | z), "mean" takes its mean, without the noise of single pixels.
    ema_decay: of the moving average of the parameters that is sampled from; None for none.
    optimizer: the optimiser.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  spec: Spec
  encoder: nn.Module = part("nets", "mlp.MLP", width=200, depth=2)
  decoder: nn.Module = part("nets", "mlp.MLP", width=200, depth=2)
  likelihood: Likelihood = part("ops", "likelihoods.Gaussian")
  latent: int = 50
  beta: float = 1.0
  kl_warmup: int = 0
  free_bits: float = 0.0
  draw: Literal["sample", "mean"] = "sample"
  ema_decay: float | None = None
  optimizer: Optimizer = part("steps", "Optimizer")

  conditions: ClassVar[tuple[str, ...]] = ()
  evaluations: ClassVar[int] = 1

  def __post_init__(self):
    self.likelihood.check(self.spec)
    at_least(1, latent=self.latent)
    at_least(0, beta=self.beta, kl_warmup=self.kl_warmup, free_bits=self.free_bits)

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step; its center is the mean of `batch`."""
    key_encoder, key_decoder = jax.random.split(key)
    params = {
      "center": batch["x"].mean(axis=0),
      "encoder": self._encoder.init(key_encoder, batch["x"]),
      "decoder": self._decoder.init(key_decoder, jnp.zeros((1, self.latent))),
    }
    return start(params, self.optimizer, self.ema_decay)

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One step of gradient descent on `loss`."""
    return descend(self.loss, self.optimizer, key, state, batch, ema_decay=self.ema_decay)

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """The negative bound as `beta`, `kl_warmup` and `free_bits` bend it; the metrics are the true one, in nats."""
    reconstruction, kl = self._terms(params, key, batch["x"])
    reconstruction, kl = reconstruction.mean(), kl.mean(axis=0)
    warmth = jnp.minimum(1.0, (state.step + 1) / self.kl_warmup) if self.kl_warmup else 1.0
    paid = jnp.sum(jnp.maximum(kl, self.free_bits)) if self.free_bits else kl.sum()
    metrics = {"elbo": reconstruction - kl.sum(), "reconstruction": reconstruction, "kl": kl.sum()}
    return self.beta * warmth * paid - reconstruction, (metrics, state.extra)

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples, [num, *shape]."""
    del cond
    key_z, key_x = jax.random.split(key)
    return self.decode(key_x, params, jax.random.normal(key_z, (num, self.latent)))

  def posterior(self, params: PyTree, x: Array) -> tuple[Array, Array]:
    """q(z | x): its means and log standard deviations, each [B, latent]."""
    out = self._encoder.apply(params["encoder"], x - params["center"])
    return out[:, 0], out[:, 1]

  def encode(self, key: Key, params: PyTree, x: Array) -> Array:
    """A code of x, drawn from q(z | x): [B, latent]. `posterior` has its mean."""
    mean, log_std = self.posterior(params, x)
    return mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)

  def decode(self, key: Key, params: PyTree, z: Array) -> Array:
    """Data of the code z [B, latent], drawn as `draw` says and clipped to the range of images: [B, *shape]."""
    out = self._observe(params, z)
    x = self.likelihood.mean(out) if self.draw == "mean" else self.likelihood.sample(key, out, self.spec.levels)
    return jnp.clip(x, -1.0, 1.0) if self.spec.kind == "image" else x

  def bound(self, num: int = 1) -> str:
    """Which bound `log_prob_bound` is, and whether it is of a density though the data have levels."""
    kind = f"IWAE-{num}" if num > 1 else "ELBO"
    return f"{kind} of a density" if self.spec.levels and self.likelihood.density else kind

  def log_prob_bound(self, key: Key, params: PyTree, x: Array, cond: Cond = None, num: int = 1) -> Array:
    """A lower bound on log p(x), [B] nats: the ELBO for num = 1, IWAE-k for num = k > 1.

    IWAE-k is the log of the mean of k importance weights p(x, z) / q(z | x), z ~ q(z | x) (1509.00519, eq. 8); for
    k = 1 its mean is the ELBO, which is then given with the KL in closed form, as that has less noise. The weights are
    made a chunk at a time under a running log-sum-exp, so that k is limited by time alone.
    """
    del cond
    at_least(1, num=num)
    if num == 1:
      reconstruction, kl = self._terms(params, key, x)
      return reconstruction - kl.sum(axis=-1)
    mean, log_std = self.posterior(params, x)
    chunk = max(1, min(num, _CHUNK // (x.size * self.likelihood.heads)))

    def add(total, i):
      eps = jax.random.normal(jax.random.fold_in(key, i), (chunk, *mean.shape))
      z = mean + jnp.exp(log_std) * eps
      log_ratio = gaussians.log_prob(z, axes=1) - gaussians.log_prob(eps, axes=1) + log_std.sum(axis=-1)
      log_weight = self._fit(params, z, x) + log_ratio
      wanted = i * chunk + jnp.arange(chunk) < num  # the last chunk may reach beyond
      log_weight = jnp.where(wanted[:, None], log_weight, -jnp.inf)
      return jnp.logaddexp(total, jax.nn.logsumexp(log_weight, axis=0)), None

    chunks = jnp.arange(math.ceil(num / chunk))
    total, _ = jax.lax.scan(add, jnp.full(len(x), -jnp.inf), chunks)
    return total - math.log(num)

  def _terms(self, params: PyTree, key: Key, x: Array) -> tuple[Array, Array]:
    """log p(x | z) for one z ~ q(z | x), [B], and the KL of every entry of the code, [B, latent]; nats."""
    mean, log_std = self.posterior(params, x)
    z = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
    return self._fit(params, z, x), gaussians.kl_to_standard(mean, log_std)

  def _fit(self, params: PyTree, z: Array, x: Array) -> Array:
    """log p(x | z): z [..., B, latent], x [B, *shape] -> [..., B] nats."""
    terms = self.likelihood.log_prob(x, self._observe(params, z), self.spec.levels)
    return terms.sum(axis=tuple(range(-len(self.spec.shape), 0)))

  def _observe(self, params: PyTree, z: Array) -> Array:
    """What the decoder says of z [..., latent]: [..., *shape, heads]."""
    out = self._decoder.apply(params["decoder"], z.reshape(-1, self.latent))
    return out.reshape(*z.shape[:-1], *self.spec.shape, self.likelihood.heads)

  @functools.cached_property
  def _encoder(self) -> nn.Module:
    return self.encoder.clone(out=(2, self.latent))

  @functools.cached_property
  def _decoder(self) -> nn.Module:
    *size, channels = self.spec.shape
    return self.decoder.clone(out=(*size, channels * self.likelihood.heads))
