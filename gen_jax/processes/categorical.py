"""Noise for values from a finite set: each is kept with probability alpha(t), or else drawn from a law of noise.

q(z_t | x) = Cat(alpha(t) x + (1 - alpha(t)) noise), with x one-hot: arXiv:2406.07524, section 3, of which absorbing and
uniform diffusion (arXiv:2107.03006, section 3.1) differ in nothing but the noise. t = 0 is data, t = 1 is noise.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from gen_jax.ops.shapes import expand
from gen_jax.types import Array, Key

_TINY = 1e-30  # added to probabilities whose logarithm is taken


# name -> (alpha, gone): both are given, since float32 has no digits left of 1 - alpha where little is noise.
_SCHEDULES = {
  "linear": (lambda t: 1 - t, lambda t: t),
  # arXiv:2102.09672, section 3.2, without its offset
  "cosine": (lambda t: jnp.square(jnp.cos(t * jnp.pi / 2)), lambda t: jnp.square(jnp.sin(t * jnp.pi / 2))),
}


@dataclasses.dataclass(frozen=True)
class Categorical:
  """A process on values 0 .. `levels` - 1 and, where it has one, the mask `levels`.

  Attributes:
    alpha: t -> the probability that a value is kept; 1 at t = 0 and 0 at t = 1.
    gone: t -> 1 - alpha(t), with all its digits at t = 0.
    masked: whether noise is the mask, rather than any of the values with equal probability.
  """

  alpha: Callable[[Array], Array]
  gone: Callable[[Array], Array]
  masked: bool

  def noise(self, levels: int) -> Array:
    """The law of the noise, [levels + 1]."""
    even = jnp.append(jnp.full(levels, 1 / levels), 0.0)
    return jax.nn.one_hot(levels, levels + 1) if self.masked else even

  def perturb(self, key: Key, x: Array, t: Array, levels: int) -> Array:
    """z_t of the values x, int32 [B, ...], at times t, [B] or a scalar."""
    key_kept, key_noise = jax.random.split(key)
    kept = jax.random.bernoulli(key_kept, expand(self.alpha(t), x), x.shape)
    return jnp.where(kept, x, self.draw(key_noise, x.shape, levels))

  def draw(self, key: Key, shape: tuple[int, ...], levels: int) -> Array:
    """Noise: z_1, int32."""
    return jnp.full(shape, levels) if self.masked else jax.random.randint(key, shape, 0, levels)

  def posterior(self, z: Array, x: Array, t: Array, s: Array) -> Array:
    """The law of z_s given z_t for s < t, [B, ..., levels + 1]: the mean of q(z_s | z_t, x) over the x there may be.

    arXiv:2107.03006, section 3.3. There, q(z_s, z_t | x) is averaged instead, for which a network has to learn other
    probabilities than p(x | z_t); the two are the same where x is known, and with masks.

    Args:
      z: z_t, int32 [B, ...].
      x: p(x | z_t), probabilities of the values, [B, ..., levels].
      t: times, [B] or a scalar.
      s: times, of the shape of t; 0 gives the data.
    """
    levels = x.shape[-1]
    noise, state = self.noise(levels), jax.nn.one_hot(z, levels + 1)
    late, early, gone_late, gone_early = (expand(f(u), state) for f in (self.alpha, self.gone) for u in (t, s))
    seen = late * state + gone_late * noise[z][..., None]  # q(z_t | x), of each x
    share = jnp.where(seen > 0, jnp.pad(x, [(0, 0)] * z.ndim + [(0, 1)]) + _TINY, 0.0) / jnp.where(seen > 0, seen, 1.0)
    share = share.at[..., -1].set(0.0)  # no x is the mask
    arrived = (late * state + (gone_late - gone_early) * noise[z][..., None]) / early  # q(z_t | z_s), of each z_s
    joint = arrived * (early * share + gone_early * share.sum(-1, keepdims=True) * noise)
    return joint / joint.sum(-1, keepdims=True)

  def kl(self, z: Array, x: Array, log_prob: Array, t: Array, s: Array) -> Array:
    """KL(q(z_s | z_t, x) || q(z_s | z_t, exp(log_prob))) of every value, [B, ...] nats: arXiv:2107.03006, eq. 1.

    With masks it is that of arXiv:2406.07524, section 3; with uniform noise that of a value is at most 69 nats.

    Args:
      z: z_t, int32 [B, ...].
      x: the data, int32 [B, ...].
      log_prob: log-probabilities of the data, [B, ..., levels].
      t: times, [B] or a scalar.
      s: times, of the shape of t; 0 makes it -log p(x).
    """
    if self.masked:  # where the mask is, z_s is x with a probability that is known: no logarithm needs a floor
      came = expand((self.gone(t) - self.gone(s)) / self.gone(t), z)
      log_x = jnp.take_along_axis(log_prob, x[..., None], axis=-1)[..., 0]
      return jnp.where(z == log_prob.shape[-1], -came * log_x, 0.0)
    true = self.posterior(z, jax.nn.one_hot(x, log_prob.shape[-1]), t, s)
    model = self.posterior(z, jnp.exp(log_prob), t, s)
    return jnp.sum(true * (jnp.log(true + _TINY) - jnp.log(model + _TINY)), axis=-1)


def absorbing(schedule: Literal["linear", "cosine"] = "linear") -> Categorical:
  """Values turn into a mask and stay it: arXiv:2107.03006, section 3.1; arXiv:2406.07524 (MDLM).

  Args:
    schedule: how alpha falls.
  """
  return Categorical(*_SCHEDULES[schedule], masked=True)


def uniform(schedule: Literal["linear", "cosine"] = "cosine") -> Categorical:
  """Values turn into any others: arXiv:2107.03006, section 3.1.

  Args:
    schedule: how alpha falls.
  """
  return Categorical(*_SCHEDULES[schedule], masked=False)
