"""Variational diffusion models: the bound on the likelihood is the loss, and the noise schedule is learned with it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.family import State
from gen_jax.processes.bounds import ends
from gen_jax.processes.denoising import Denoising
from gen_jax.processes.gaussian import Gaussian
from gen_jax.processes.learned import Monotone
from gen_jax.processes.prediction import Prediction
from gen_jax.processes.weighting import Weighting
from gen_jax.resolve import part
from gen_jax.types import Array, Batch, Key, Metrics, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class VDM(Denoising):
  """A variational diffusion model in continuous time: arXiv:2107.00630.

  Training maximises the variational bound, `bounds.Continuous`, in the network and in both ends of the schedule. The
  bound does not depend on the schedule between them, but the noise of its estimate does: the shape of the schedule
  minimises the square of the loss, and with it the variance (appendix I).

  Attributes:
    path: a schedule with parameters.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  path: Monotone = part("processes", "learned.Monotone")
  prediction: Prediction = part("processes", "prediction.eps")
  weight: Weighting = part("processes", "weighting.likelihood")

  def __post_init__(self):
    super().__post_init__()
    if self.times.start():
      raise InputError("times.importance: here the schedule learns where to look: choose times.low_discrepancy")

  def path_of(self, params: PyTree) -> Gaussian:
    """The path that these parameters have learned."""
    return self.path.at(params["schedule"])

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """Minus the bound, nats per entry of x; the shape of the schedule sees the square of its integrand instead."""
    fixed, schedule = jax.lax.stop_gradient, params["schedule"]
    bound = {**params, "schedule": {**schedule, "shape": fixed(schedule["shape"])}}
    shape = {**fixed(params), "schedule": {**fixed(schedule), "shape": schedule["shape"]}}
    integrand, rest = self._terms(bound, key, batch)
    square = jnp.square(self._terms(shape, key, batch)[0]).mean()  # the same numbers: compiled, they are made once
    value = integrand.mean() + rest.mean()
    gamma = {"gamma_min": schedule["ends"][0], "gamma_max": schedule["ends"][0] + jnp.exp(schedule["ends"][1])}
    return value + square - fixed(square), ({"integral": integrand.mean(), **gamma}, state.extra)

  def _terms(self, params: PyTree, key: Key, batch: Batch) -> tuple[Array, Array]:
    """The integrand at one time of each example, and the terms of both ends: [B], nats per entry of x."""
    key_t, key_eps, key_net, key_ends, key_last = jax.random.split(key, 5)
    x, path = batch["x"], self.path_of(params)
    t, _ = self.times.draw(key_t, path, len(x), ())
    xt, _ = path.perturb(key_eps, x, t)
    denoise = functools.partial(self._trained, params, key_last, batch)
    return self._errors(params, key_net, batch, t, xt), -ends(key_ends, path, denoise, x, self.spec.levels) / x[0].size

  def _trained(self, params: PyTree, key: Key, batch: Batch, t: Array, xt: Array) -> Array:
    """x0 of xt [B, ...] at time t, with what is random in training."""
    around = self.prediction(self.path_of(params), jnp.broadcast_to(t, xt.shape[:1]))
    return around.to_x0(self._output(params, key, batch, around)(xt), xt)

  def _init(self, key: Key, batch: Batch) -> PyTree:
    key_net, key_schedule = jax.random.split(key)
    return {**super()._init(key_net, batch), "schedule": self.path.start(key_schedule)}
