"""The slope of functions of time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.types import Array


def value_and_slope(f: Callable[[Array], Array], t: Array) -> tuple[Array, Array]:
  """f(t) and df/dt, of the shape of f(t), where each of its entries depends on one of the times t, a scalar or [B]."""
  return jax.jvp(f, (t,), (jnp.ones_like(t),))
