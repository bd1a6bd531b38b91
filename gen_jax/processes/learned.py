"""A Gaussian path whose noise schedule is learned."""

import dataclasses

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.processes.gaussian import Gaussian
from gen_jax.types import Array, Key, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Monotone:
  """Variance preserving, gamma = -log(alpha^2 / sigma^2) a monotone network of t: arXiv:2107.00630, appendix H.

  gamma rises from one learned end to the other as l1 + l3(sigmoid(l2(l1))) does, where l1 and l3 are linear and l2 is
  affine, with positive slopes.

  Attributes:
    gamma_min: where gamma starts, at the first step.
    gamma_max: where it ends, at the first step.
    width: hidden units.
    t_min: the time of the first end; the other is 1.
  """

  gamma_min: float = -10.0
  gamma_max: float = 8.0
  width: int = 64
  t_min: float = 1e-3

  def __post_init__(self):
    if not self.gamma_min < self.gamma_max:
      raise InputError(f"gamma_min = {self.gamma_min} should be less than gamma_max = {self.gamma_max}")

  def start(self, key: Key) -> PyTree:
    """The parameters before the first step: the two ends, and the shape between them, almost a straight line."""
    key_in, key_out = jax.random.split(key)
    steep = 4.0 + jax.random.normal(key_in, (self.width,))
    shape = {
      "slope": jnp.zeros(()),
      "in": steep,
      "in_bias": -steep * jnp.linspace(0.0, 0.7, self.width),  # steps all along the line, whose slope is log 2
      "out": 0.5 * jax.random.normal(key_out, (self.width,)) - 2.0,
    }
    return {"ends": jnp.array([self.gamma_min, jnp.log(self.gamma_max - self.gamma_min)]), "shape": shape}

  def at(self, params: PyTree) -> Gaussian:
    """The path with these parameters."""
    low, width, shape = params["ends"][0], jnp.exp(params["ends"][1]), params["shape"]

    def raw(u):
      line = jax.nn.softplus(shape["slope"]) * u
      hidden = jax.nn.sigmoid(jax.nn.softplus(shape["in"]) * line[..., None] + shape["in_bias"])
      return line + (jax.nn.softplus(shape["out"]) * hidden).sum(-1)

    def gamma(t: Array) -> Array:
      t = jnp.asarray(t)
      first, last = raw(jnp.zeros_like(t)), raw(jnp.ones_like(t))
      return low + width * (raw((t - self.t_min) / (1 - self.t_min)) - first) / (last - first)

    return Gaussian(
      alpha=lambda t: jnp.exp(jax.nn.log_sigmoid(-gamma(t)) / 2),
      sigma=lambda t: jnp.exp(jax.nn.log_sigmoid(gamma(t)) / 2),
      t_min=self.t_min,
      t_max=1.0,
    )
