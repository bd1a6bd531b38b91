"""Methods for stochastic differential equations."""

import jax
import jax.numpy as jnp

from gen_jax.ops.shapes import expand
from gen_jax.solvers.base import Solver, as_sde


def _euler_maruyama(sde, key, x, t, s, carry):
  h = s - t
  noise = expand(sde.diffusion(t) * jnp.sqrt(jnp.abs(h)), x) * jax.random.normal(key, x.shape, x.dtype)
  return x + expand(h, x) * sde.drift(t, x) + noise, carry


euler_maruyama = Solver(_euler_maruyama, of=as_sde, order=1, stochastic=True)
