"""Gaussian diffusion models: a network learns to remove noise, a solver turns that into samples."""

import dataclasses
import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, at_least
from gen_jax.processes import uncertainty, variance
from gen_jax.processes.bounds import Share
from gen_jax.processes.denoising import Denoising
from gen_jax.processes.gaussian import Gaussian
from gen_jax.processes.prediction import Preconditioning
from gen_jax.resolve import part
from gen_jax.solvers.base import Noise, independent
from gen_jax.types import Array, Batch, Cond, Key, PyTree

_HYBRID = 1e-3  # weight of the bound beside the loss of the mean: lambda of arXiv:2102.09672, section 3.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diffusion(Denoising):
  """Denoising diffusion: arXiv:2006.11239 (DDPM), arXiv:2206.00364 (EDM) and what lies between.

  Attributes:
    uncertainty: a network [B, 1] -> [B, 1] that learns the log of the loss at each noise level, to weigh all levels
      alike (`processes/uncertainty.py`); None for the plain loss.
    variance: "learned" for a network of twice the channels that also says how much noise a stochastic solver adds
      (arXiv:2102.09672), and counts in `bounds.Discrete`. What is learned is that of a chain of `chain` steps, by its
      bound, to which the mean is blind.
    chain: number of those steps, evenly spaced in t.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  uncertainty: nn.Module | None = part("nets", None)
  variance: Literal["fixed", "learned"] = "fixed"
  chain: int = 1000

  def __post_init__(self):
    super().__post_init__()
    at_least(1, chain=self.chain)
    if self.variance == "learned" and self.spec.kind != "image":
      raise InputError('variance="learned" needs a network with channels: set variance="fixed" for vectors')
    if self.variance == "learned" and self.solver.stochastic and not self.solver.posterior:
      raise InputError(
        'variance="learned" is that of the reverse chain: choose semilinear.ancestral, or variance="fixed"'
      )
    if self.variance == "learned" and self.guidance.weight != 1.0:
      raise InputError('variance="learned" is of the model without guidance: set guidance.weight=1 or variance="fixed"')

  def _judged(self, path: Gaussian, around: Preconditioning, out: Array, x: Array, t: Array, xt: Array) -> Array:
    errors = super()._judged(path, around, out, x, t, xt)
    if self.variance == "fixed":
      return errors
    error = jax.lax.stop_gradient(x - around.to_x0(self._estimate(out), xt))
    s = jnp.maximum(t - (path.t_max - path.t_min) / self.chain, path.t_min)
    terms = variance.kl(path, self._share(out), error, t, s).reshape(len(xt), -1)
    return errors + _HYBRID * self.chain * terms.mean(-1)

  def _balance(self, params: PyTree, t: Array, errors: Array) -> Array:
    if self.uncertainty is None:
      return errors
    return uncertainty.balance(self.uncertainty, params["uncertainty"], self.prediction(self.path, t).time, errors)

  def _noise(self, params: PyTree, cond: Cond) -> Noise:
    share = self._variance(params, cond)
    if share is None:
      return independent
    return lambda key, x, t, s: variance.scale(self.path, share(t, x), t, s) * independent(key, x, t, s)

  def _variance(self, params: PyTree, cond: Cond) -> Share | None:
    if self.variance == "fixed":
      return None

    def share(t, xt):
      around = self.prediction(self.path, jnp.broadcast_to(t, xt.shape[:1]))
      out = self._apply(params, *around.inputs(xt), self._cond(cond), None)  # the denoiser's call: it is made once
      return self._share(out)

    return share

  def _init(self, key: Key, batch: Batch) -> PyTree:
    if self.uncertainty is None:
      return super()._init(key, batch)
    key_net, key_uncertainty = jax.random.split(key)
    return {**super()._init(key_net, batch), "uncertainty": uncertainty.init(self.uncertainty, key_uncertainty)}

  def _estimate(self, out: Array) -> Array:
    return out[..., : self.spec.shape[-1]]

  def _share(self, out: Array) -> Array:
    """How far the standard deviation is on its way from the least to the most, of every entry."""
    return (out[..., self.spec.shape[-1] :] + 1) / 2

  @functools.cached_property
  def _net(self) -> nn.Module:
    net = super()._net
    return net.clone(out=2 * self.spec.shape[-1]) if self.variance == "learned" else net
