"""A weight for each noise level that is learned with the model: one over how large the errors there are.

A network u [B, 1] -> [B, 1] of the time that the model's network is given is trained with it on E[exp(-u) error + u].
Where u minimises that it is the log of the mean error at each time, so that all levels count alike: arXiv:2312.02696,
eq. 21.
"""

import flax.linen as nn
import jax.numpy as jnp

from gen_jax.types import Array, Key, PyTree


def init(net: nn.Module, key: Key) -> PyTree:
  """The first parameters of the network."""
  return net.init(key, jnp.zeros((1, 1)))["params"]


def balance(net: nn.Module, params: PyTree, time: Array, errors: Array) -> Array:
  """What is minimised instead of the errors [B] of examples that the model is given at `time` [B]; [B]."""
  u = net.apply({"params": params}, time[:, None])[:, 0]
  return jnp.exp(-u) * errors + u
