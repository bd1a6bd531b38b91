"""Objectives that teach a vector field s the score of the law of x, without its density.

An objective is a function (field, key, x, slope) -> [B], with `field` x [B, ...] -> [B, ...] and `slope` the score of x
given the clean data that it was made from, grad log q(x | x0). In expectation all are |s - grad log q|^2 / 2 up to a
constant that does not depend on s.
"""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp

from gen_jax.ops.divergence import Divergence, Exact, Hutchinson
from gen_jax.ops.shapes import sum_flat
from gen_jax.types import Array, Key

Field = Callable[[Array], Array]
Objective = Callable[[Field, Key, Array, Array], Array]


def denoising() -> Objective:
  """|s(x) - grad log q(x | x0)|^2 / 2, whose mean over x0 is that of the noisy law: arXiv:1907.05600, eq. 5."""

  def objective(field, key, x, slope):
    del key
    return sum_flat(jnp.square(field(x) - slope)) / 2

  return objective


def exact() -> Objective:
  """div s(x) + |s(x)|^2 / 2: Hyvarinen, JMLR 6 (2005), theorem 1. It costs a derivative for every coordinate."""
  return _divergence(Exact())


def sliced(draws: int = 1, law: Literal["rademacher", "gaussian"] = "rademacher", reduced: bool = True) -> Objective:
  """v^T (ds / dx) v + (v^T s)^2 / 2 for random v, one derivative each: arXiv:1905.07088.

  Args:
    draws: how many v for each example.
    law: of v, whose covariance is 1.
    reduced: whether (v^T s)^2 is replaced by its mean over v, |s|^2, which has less variance ("SSM-VR").
  """
  divergence = Hutchinson(draws=draws, law=law)
  if reduced:
    return _divergence(divergence)

  def objective(field, key, x, slope):
    del slope
    v = divergence.probes(key, x)
    value, growth = divergence(field, x, v)
    along = (v * value).reshape(draws, len(x), -1).sum(-1).T
    return (growth + jnp.square(along) / 2).mean(-1)

  return objective


def _divergence(divergence: Divergence) -> Objective:
  """The objective of `exact`, with this divergence."""

  def objective(field, key, x, slope):
    del slope
    value, growth = divergence(field, x, divergence.probes(key, x))
    return growth.mean(-1) + sum_flat(jnp.square(value)) / 2

  return objective
