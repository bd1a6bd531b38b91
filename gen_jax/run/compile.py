"""How programs are compiled: the backend's options and the cache of compiled programs, chosen here and nowhere else."""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core

_OPTIONS = {
  # Reductions and lone matrix products go to YNNPACK. Convolutions, which by default do too, stay with Eigen: it is up
  # to twice as fast, and four times for the gradient of a kernel as ops/convolution.py puts it.
  # LLVM at its first level makes programs of the same bits and speed sooner, that of the first parameters in half.
  "cpu": {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE",
    "xla_backend_optimization_level": "1",
  },
}


def jit(fn: Callable, **kwargs: Any) -> Callable:
  """`jax.jit` with the options of the backend in use."""
  return jax.jit(fn, compiler_options=options(jax.default_backend()), **kwargs)


@functools.cache
def options(backend: str) -> dict[str, str] | None:
  """The compiler options for `backend`, or None where there are none or this version of XLA does not know them."""
  wanted = _OPTIONS.get(backend)
  if wanted is None:
    return None
  try:
    jax.jit(lambda: 0, compiler_options=wanted).lower().compile()
  except Exception:  # what an unknown option raises has no type of its own
    return None
  return wanted


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
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    jax.config.update("jax_compilation_cache_dir", str(home / "gen_jax"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
