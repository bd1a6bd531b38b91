"""Deep generative models in JAX: train them on the same data, sample them and score them the same way."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
  if name == "load":  # imported on first use: it brings the whole run room with it
    from gen_jax.run.load import load

    return load
  raise AttributeError(f"module 'gen_jax' has no attribute {name!r}")
