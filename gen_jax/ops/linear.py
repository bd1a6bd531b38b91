"""Linear maps that are given as functions."""

from collections.abc import Callable

import jax

from gen_jax.errors import InputError
from gen_jax.types import Array


def adjoint(measure: Callable[[Array], Array], x: Array) -> Callable[[Array], Array]:
  """A^T of the linear map `measure`, A, as a function of what A gives of an x of this shape.

  Raises:
    InputError: it is not linear.
  """
  transposed = jax.linear_transpose(measure, x)
  try:
    jax.eval_shape(transposed, jax.eval_shape(measure, x))
  except Exception as e:  # what JAX raises depends on where it stops being linear
    raise InputError(f"measure should be linear: {str(e).strip().splitlines()[0]}") from e
  return lambda v: transposed(v)[0]
