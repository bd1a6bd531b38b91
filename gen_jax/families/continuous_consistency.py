"""Consistency models in continuous time: neighbouring times become a derivative, and no grid of times is left."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, at_least
from gen_jax.family import State
from gen_jax.ops.shapes import expand, mean_flat
from gen_jax.processes import uncertainty
from gen_jax.processes.consistency import ConsistencyModel
from gen_jax.processes.gaussian import Gaussian
from gen_jax.processes.prediction import Preconditioning, Prediction
from gen_jax.processes.times import Times
from gen_jax.resolve import part
from gen_jax.types import Array, Batch, Key, Metrics, PyTree

_SOFTEN = 0.1  # c of the normalised tangent: arXiv:2410.11081, section 4.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContinuousConsistency(ConsistencyModel):
  """Simplified continuous-time consistency models: arXiv:2410.11081 (sCM), eq. 8.

  Everything is in terms of the angle u = arctan(sigma / (sigma_data alpha)) and z, xt scaled to unit variance, which
  turn any path into the trigonometric one. The network F and the consistency function are related by
  f = cos(u) z - sin(u) F, and training minimises

    E[exp(-w(u)) |F - F' - g / (|g| + c)|^2 + w(u)],  g = -cos^2(u) (F' - dz/du) - r cos(u) sin(u) (z + dF'/du),

  with F' = F not differentiated, dF'/du its derivative along the trajectory, by forward-mode differentiation, r that
  rises from 0 to 1, norms that are root mean squares, and w a learned weight. dz/du is the teacher's (sCD) or, without
  one, cos(u) eps - sin(u) x0 / sigma_data (sCT).

  Attributes:
    prediction: prediction.v or prediction.edm, whose outputs are F or -F.
    times: density of the training times.
    warmup: steps in which r rises from 0 to 1: until then the network learns the flow, not yet where it starts.
    uncertainty: a network [B, 1] -> [B, 1] that learns w as a function of a quarter of log(sigma / alpha).

  Raises:
    InputError: settings that do not fit each other, the data, or the runs that are named.
  """

  path: Gaussian = part("processes", "gaussian.trigonometric")
  prediction: Prediction = part("processes", "prediction.v")
  times: Times = part("processes", "times.lognormal", mean=-1.0, std=1.4)
  warmup: int = 10_000
  uncertainty: nn.Module = part("nets", "mlp.MLP", width=64, depth=1)

  def __post_init__(self):
    super().__post_init__()
    sine, cosine = self._angle(self.prediction(self.path, self._places), self._places)
    if not jnp.allclose(sine**2 + cosine**2, 1, atol=1e-2):
      raise InputError("prediction: continuous-time consistency needs prediction.v or prediction.edm")
    if self.times.start():
      raise InputError("times.importance learns from losses, which say little here: choose times.lognormal")
    at_least(1, warmup=self.warmup)

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """The weighted error of F against F' moved along its tangent; "tangent" is the latter's root mean square."""
    key_t, key_eps, key_net = jax.random.split(key, 3)
    x, path = batch["x"], self.path
    t, _ = self.times.draw(key_t, path, len(x), ())
    xt, eps = path.perturb(key_eps, x, t)
    if self.teacher is not None:
      eps = path.problem(self.teach(state.extra, batch)).eps(t, xt)
    around = self.prediction(path, t)
    (z, time), (s, c) = around.inputs(xt), (expand(a, xt) for a in self._angle(around, t))
    dz = (eps - s * z) / c  # cos(u) eps - sin(u) x0, as z = cos(u) x0 + sin(u) eps

    sign = -jnp.sign(around.gain[0])
    network = lambda z, time: (
      sign * self._net.apply(params, z, time, self._cond(batch), None, train=True, rngs={"dropout": key_net})
    )
    # cos(u) sin(u) d/du, which keeps both tangents of order one: what the network is told rises by 1 / (4 cos sin)
    tangents = (c * s * dz, jnp.full_like(time, 0.25))
    fixed, slope = jax.lax.stop_gradient(jax.jvp(network, (z, time), tangents))
    r = jnp.minimum(state.step / self.warmup, 1.0)
    g = -(c**2) * (fixed - dz) - r * (c * s * z + slope)
    size = jnp.sqrt(mean_flat(jnp.square(g)))
    g = g / expand(size + _SOFTEN, g)
    errors = mean_flat(jnp.square(network(z, time) - fixed - g))
    balanced = uncertainty.balance(self.uncertainty, params["uncertainty"], time, errors)
    return jnp.mean(balanced), ({"tangent": size.mean()}, state.extra)

  def _init(self, key: Key, batch: Batch) -> PyTree:
    key_net, key_uncertainty = jax.random.split(key)
    return {**super()._init(key_net, batch), "uncertainty": uncertainty.init(self.uncertainty, key_uncertainty)}

  def _angle(self, around: Preconditioning, t: Array) -> tuple[Array, Array]:
    """sin(u) and cos(u), of the shape of t: the shares of noise and data in what the network sees.

    The latter is not taken from the former, which near pure noise is 1 in float32.
    """
    sigma = self.path.sigma(t)
    return sigma * around.scale, around.skip * sigma / jnp.abs(around.gain)
