"""How programs are compiled: the backend's options and the cache of compiled programs, chosen here and nowhere else."""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np

_LONE_PRODUCTS = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
_YNN, _LEVEL = "xla_cpu_experimental_ynn_fusion_type", {"xla_backend_optimization_level": "1"}

# The options of each backend, best first: those are taken that its XLA knows, and with which it adds up right.
_OPTIONS = {
  # Reductions and lone matrix products go to YNNPACK. Convolutions, which by default do too, stay with Eigen: it is up
  # to twice as fast, and four times for the gradient of a kernel as ops/convolution.py puts it.
  # LLVM at its first level makes programs of the same bits and speed sooner, that of the first parameters in half.
  "cpu": (
    {_YNN: f"{_LONE_PRODUCTS},LIBRARY_FUSION_TYPE_REDUCE", **_LEVEL},
    {_YNN: _LONE_PRODUCTS, **_LEVEL},
  ),
}


def jit(fn: Callable, **kwargs: Any) -> Callable:
  """`jax.jit` with the options of the backend in use."""
  return jax.jit(fn, compiler_options=options(jax.default_backend()), **kwargs)


@functools.cache
def options(backend: str) -> dict[str, str] | None:
  """The compiler options for `backend`, or None where there are none that this version of XLA can be trusted with."""
  return next((options for options in _OPTIONS.get(backend, ()) if _adds_up(options)), None)


def _adds_up(options: dict[str, str]) -> bool:
  """Whether a sum is right that JAX 0.11.1 to 0.12.0 get wrong: YNNPACK there overwrites w when it takes exp(-w)."""

  def total(a, x):
    w = 3.0 * jnp.ones_like(x) * a
    return (w + x * jnp.exp(-w)).sum(-1)

  a, x = np.ones((8192, 1), np.float32), np.ones((8192, 3), np.float32)  # YNNPACK takes none that is much smaller
  try:
    return np.allclose(jax.jit(total, compiler_options=options)(a, x), 3 * (3 + np.exp(-3)))
  except Exception:  # what an unknown option raises has no type of its own
    return False


def loops_well(jaxpr: Any) -> bool:
  """Whether a program is as fast inside a loop as outside.

  Not so on the CPU where there are convolutions: XLA brings only those outside of loops and branches into the form
  that its library takes. The others are up to a hundred times slower, their gradients above all.
  """
  return jax.default_backend() != "cpu" or not _has(jaxpr.jaxpr, "conv_general_dilated")


def _has(jaxpr: Any, primitive: str) -> bool:
  inner = (p for eqn in jaxpr.eqns for p in jax.tree.leaves(tuple(eqn.params.values()), is_leaf=_is_jaxpr))
  return any(eqn.primitive.name == primitive for eqn in jaxpr.eqns) or any(
    _has(getattr(p, "jaxpr", p), primitive) for p in inner if _is_jaxpr(p)
  )


def _is_jaxpr(value: Any) -> bool:
  return isinstance(value, jax.extend.core.Jaxpr | jax.extend.core.ClosedJaxpr)


def use_cache() -> None:
  """Keeps compiled programs on disk between runs, in $JAX_COMPILATION_CACHE_DIR or the user's cache directory."""
  if jax.config.jax_compilation_cache_dir is None:
    try:
      home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    except RuntimeError:  # a user without a home
      return
    jax.config.update("jax_compilation_cache_dir", str(home / "gen_jax"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
