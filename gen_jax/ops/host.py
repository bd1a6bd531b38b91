"""The device that every machine has."""

import jax


def device() -> jax.Device:
  """The CPU, which has the host's memory and 64 bits; JAX's first device, where JAX_PLATFORMS leaves the CPU out."""
  try:
    return jax.local_devices(backend="cpu")[0]
  except RuntimeError:
    return jax.local_devices()[0]
