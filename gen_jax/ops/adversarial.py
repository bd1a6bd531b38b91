"""What the two players of a GAN minimise, and what keeps a discriminator smooth.

A game is a pair of functions of logits, the outputs of the discriminator; a config names one, such as
`game="adversarial.hinge"`. A logit is large where the discriminator believes in the image.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gen_jax.ops.shapes import expand, sum_flat
from gen_jax.types import Array, Key


class Game(NamedTuple):
  """Two losses, each a scalar.

  Attributes:
    discriminator: of the logits of real and of generated data, each [B].
    generator: of the logits of generated data, [B].
  """

  discriminator: Callable[[Array, Array], Array]
  generator: Callable[[Array], Array]


# Cross-entropy, and the generator's loss of 1406.2661, section 3, whose gradient does not vanish where it loses. At the
# best discriminator, log p_data / p_g, the loss of the discriminator is 2 log 2 - 2 JS(p_data, p_g).
non_saturating = Game(
  lambda real, fake: jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake)),
  lambda fake: jnp.mean(jax.nn.softplus(-fake)),
)

# 1705.02894: only logits within the margin teach the discriminator.
hinge = Game(
  lambda real, fake: jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake)),
  lambda fake: -jnp.mean(fake),
)

# 1611.04076, eq. 9: squared distance to the targets 1 (real) and 0 (generated).
least_squares = Game(
  lambda real, fake: 0.5 * jnp.mean(jnp.square(real - 1)) + 0.5 * jnp.mean(jnp.square(fake)),
  lambda fake: 0.5 * jnp.mean(jnp.square(fake - 1)),
)

# 1701.07875, eq. 2 and 3: minus the difference of means, whose maximum over 1-Lipschitz functions is the distance W1.
# It needs a gradient penalty or spectral normalisation to keep the discriminator near those.
wasserstein = Game(lambda real, fake: jnp.mean(fake) - jnp.mean(real), lambda fake: -jnp.mean(fake))


def balance(main: Callable[[Array], Array], other: Callable[[Array], Array], x: Array) -> Array:
  """|gradient of main at x| / |gradient of other at x|, for scalar losses of x [B, ...]; not differentiated.

  With this weight `other` moves x as far as `main` does: arXiv:2012.09841, eq. 7, with the gradients at x instead of
  the last kernel of the network that made it.
  """
  x = jax.lax.stop_gradient(x)
  size = lambda loss: jnp.linalg.norm(jax.grad(loss)(x))
  return size(main) / jnp.maximum(size(other), 1e-12)


def squared_gradients(discriminator: Callable[[Array], Array], x: Array) -> Array:
  """|gradient of the logit at x|^2: x [B, *shape] -> [B]."""
  grads = jax.grad(lambda x: discriminator(x).sum())(x)
  return sum_flat(jnp.square(grads))


def r1(discriminator: Callable[[Array], Array], real: Array) -> Array:
  """E|gradient at real data|^2 / 2 (1801.04406, eq. 9, with gamma = 1)."""
  return 0.5 * jnp.mean(squared_gradients(discriminator, real))


def gradient_penalty(key: Key, discriminator: Callable[[Array], Array], real: Array, fake: Array) -> Array:
  """E(|gradient| - 1)^2 at random points between real and generated data (1704.00028, eq. 3, with lambda = 1)."""
  between = expand(jax.random.uniform(key, real.shape[:1]), real)
  square = squared_gradients(discriminator, between * real + (1 - between) * fake)
  safe = jnp.maximum(square, 1e-12)  # the root has no slope at 0
  return jnp.mean(jnp.square(jnp.sqrt(safe) - 1))
