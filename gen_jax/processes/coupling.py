"""Which noise each example of a batch is joined to by a path in training."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gen_jax.types import Array, Key


class Coupling(NamedTuple):
  """A joint law of data and noise whose marginals are those of each.

  Attributes:
    noise: (key, x [B, ...]) -> eps of the shape of x, one for each example.
    independent: whether the noise tells nothing of the data, so that xt is x0 with Gaussian noise. Where it does, the
      velocity of the path still carries noise to data, but the denoiser is no score.
  """

  noise: Callable[[Key, Array], Array]
  independent: bool


def independent() -> Coupling:
  """Any noise for any example: arXiv:2210.02747, and every diffusion model."""
  return Coupling(lambda key, x: jax.random.normal(key, x.shape, x.dtype), independent=True)


def optimal() -> Coupling:
  """The pairing of a batch with as much noise that has the least sum of squares: arXiv:2302.00482 (minibatch OT-CFM).

  An assignment, found exactly by the Hungarian algorithm in compiled code: a permutation, so that every draw of the
  noise is used once and its law does not change, unlike a plan of Sinkhorn's algorithm from which pairs are drawn.
  """

  def noise(key, x):
    eps = jax.random.normal(key, x.shape, x.dtype)
    cost = (
      -x.reshape(len(x), -1) @ eps.reshape(len(x), -1).T
    )  # the squares of x and of eps are the same in every pairing
    row, column = optax.assignment.hungarian_algorithm(cost)
    return eps[jnp.zeros(len(x), column.dtype).at[row].set(column)]

  return Coupling(noise, independent=False)
