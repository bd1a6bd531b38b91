"""Linear maps that are given as functions."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, in_short
from gen_jax.types import Array

Map = Callable[[Array], Array]


def linear_part(measure: Map, x: Array) -> tuple[Map, Map]:
  """(A, A^T) of the map `measure`, x -> A x + b, of which x is an example.

  Raises:
    InputError: it is not of that form.
  """
  try:
    transposed = jax.linear_transpose(measure, x)
    jax.eval_shape(transposed, jax.eval_shape(measure, x))
  except Exception as e:  # what JAX raises depends on where it stops being linear
    raise InputError(f"measure should be affine: {in_short(e)}") from e
  constant = measure(jnp.zeros_like(x))
  return lambda v: measure(v) - constant, lambda v: transposed(v)[0]
