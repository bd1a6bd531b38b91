"""PyTorch as a fair peer: on the same device, with the same precision."""

import contextlib
import importlib.util

import jax


def precisions() -> tuple[str, ...]:
  """What to compute in: float32, and bfloat16 too on an accelerator."""
  return ("float32",) if jax.default_backend() == "cpu" else ("float32", "bfloat16")


def sized(cpu: int, accelerator: int) -> int:
  """How many, of examples or of runs, for a device as fast as the one at hand."""
  return cpu if jax.default_backend() == "cpu" else accelerator


def missing(*packages: str) -> bool:
  """Whether one of the peer's packages is not installed, or PyTorch has no such device as JAX works on."""
  if any(importlib.util.find_spec(name) is None for name in packages):
    return True
  if jax.default_backend() == "cpu":
    return False
  import torch

  return not torch.cuda.is_available()


def device(products: str = "high") -> str:
  """Where PyTorch works, after telling it to use the fastest convolutions and how to round products of float32.

  Args:
    products: "high" for TF32 where there is such a thing, which is JAX's default; "highest" for float32.
  """
  import torch

  torch.set_float32_matmul_precision(products)
  torch.backends.cudnn.benchmark = True
  return _device()


def _device() -> str:
  return "cpu" if jax.default_backend() == "cpu" else "cuda"


def autocast(dtype: str) -> contextlib.AbstractContextManager:
  """Computes in `dtype` with float32 parameters; unlike ours, autocast leaves normalisation in float32."""
  import torch

  return torch.autocast(_device(), torch.bfloat16, enabled=dtype == "bfloat16")
