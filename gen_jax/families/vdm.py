"""Variational diffusion models: the bound on the likelihood is the loss, and the noise schedule is learned with it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.family import State
from gen_jax.ops.discretized import nearest
from gen_jax.processes.bounds import ends
from gen_jax.processes.denoising import Denoising
from gen_jax.processes.dequantizer import Dequantizer
from gen_jax.processes.gaussian import Gaussian
from gen_jax.processes.learned import Monotone
from gen_jax.processes.prediction import Prediction
from gen_jax.processes.weighting import Weighting
from gen_jax.resolve import part
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class VDM(Denoising):
  """A variational diffusion model in continuous time: arXiv:2107.00630.

  Training maximises the variational bound, `bounds.Continuous`, in the network and in both ends of the schedule. The
  bound does not depend on the schedule between them, but the noise of its estimate does: the shape of the schedule
  minimises the square of the loss, and with it the variance (appendix I).

  Without a `dequantizer`, images are levels, and the model gives each its mass. With one, q(y | x), it is a model of
  densities, of images y between the levels, and log P(x) >= E[log p(y) - log q(y | x)] is maximised in both (Flow++,
  arXiv:1902.00275, section 3.1, whose flow is a diffusion model here). Samples are then rounded to levels.

  Attributes:
    path: a schedule with parameters.
    dequantizer: turns levels into real numbers: "dequantizer.Variational"; None to model the levels themselves.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  path: Monotone = part("processes", "learned.Monotone")
  prediction: Prediction = part("processes", "prediction.eps")
  weight: Weighting = part("processes", "weighting.likelihood")
  dequantizer: Dequantizer | None = part("processes", None)

  def __post_init__(self):
    super().__post_init__()
    if self.times.start():
      raise InputError("times.importance: here the schedule learns where to look: choose times.low_discrepancy")
    if self.dequantizer is None:
      return
    if not self.spec.levels:
      raise InputError("dequantizer: these data have no levels: set it to None")
    if self.clip:
      raise InputError("clip=True cuts off what the dequantizer adds to the outermost levels: set clip=False")

  def bound(self, num: int = 1) -> str:
    """Which bound `log_prob_bound` is, whatever the number of draws."""
    if self.dequantizer is None:
      return super().bound(num)
    return f"{self.likelihood.name(0)}, {self.dequantizer.name}"

  def path_of(self, params: PyTree) -> Gaussian:
    """The path that these parameters have learned."""
    return self.path.at(params["schedule"])

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples, [num, *shape]."""
    x = super().sample(key, params, num, cond)
    return x if self.dequantizer is None else nearest(x, self.spec.levels)

  def log_prob_bound(self, key: Key, params: PyTree, x: Array, cond: Cond = None, num: int = 1) -> Array:
    """A lower bound on log p(x), without guidance, [B] nats: the mean of `num` draws, each of its own y."""
    if self.dequantizer is None or num < 1:
      return super().log_prob_bound(key, params, x, cond, num)
    path, denoise = self.path_of(params), self._plain(params, cond)

    def draw(key):
      key_y, key_bound = jax.random.split(key)
      y, levels, log_q = self._dequantized(params, key_y, x)
      return self.likelihood(key_bound, path, denoise, y, levels, 1) - log_q

    return jax.lax.map(draw, jax.random.split(key, num)).mean(0)

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """Minus the bound, nats per entry of x; the shape of the schedule sees the square of its integrand instead.

    That is so with `weighting.likelihood` and times that are uniform, as by default; with others it is a weighted one.
    """
    fixed, schedule = jax.lax.stop_gradient, params["schedule"]
    bound = {**params, "schedule": {**schedule, "shape": fixed(schedule["shape"])}}
    shape = {**fixed(params), "schedule": {**fixed(schedule), "shape": schedule["shape"]}}
    integrand, rest = self._terms(bound, key, batch)
    square = jnp.square(self._terms(shape, key, batch)[0]).mean()  # the same way there, and one more back
    value = integrand.mean() + rest.mean()
    gamma = {"gamma_min": schedule["ends"][0], "gamma_max": schedule["ends"][0] + jnp.exp(schedule["ends"][1])}
    return value + square - fixed(square), ({"integral": integrand.mean(), **gamma}, state.extra)

  def _terms(self, params: PyTree, key: Key, batch: Batch) -> tuple[Array, Array]:
    """The integrand at one time of each example, and the terms of both ends: [B], nats per entry of x."""
    key_t, key_eps, key_net, key_ends, key_last, key_y = jax.random.split(key, 6)
    x, levels, log_q = self._dequantized(params, key_y, batch["x"])
    batch, path = {**batch, "x": x}, self.path_of(params)
    t, _ = self.times.draw(key_t, path, len(x), ())
    xt, _ = path.perturb(key_eps, x, t)
    denoise = functools.partial(self._trained, params, key_last, batch)
    rest = log_q - ends(key_ends, path, denoise, x, levels)
    return self._errors(params, key_net, batch, t, xt), rest / x[0].size

  def _dequantized(self, params: PyTree, key: Key, x: Array) -> tuple[Array, int, Array | float]:
    """What is modelled of x: data, how many levels they have, and their log density given x, [B] nats."""
    if self.dequantizer is None:
      return x, self.spec.levels, 0.0
    y, log_q = self.dequantizer.draw(key, params["dequantizer"], x, self.spec.levels)
    return y, 0, log_q

  def _trained(self, params: PyTree, key: Key, batch: Batch, t: Array, xt: Array) -> Array:
    """x0 of xt [B, ...] at time t, with what is random in training."""
    around = self.prediction(self.path_of(params), jnp.broadcast_to(t, xt.shape[:1]))
    return around.to_x0(self._output(params, key, batch, around)(xt), xt)

  def _init(self, key: Key, batch: Batch) -> PyTree:
    key_net, key_schedule, key_dequantizer = jax.random.split(key, 3)
    params = {**super()._init(key_net, batch), "schedule": self.path.start(key_schedule)}
    if self.dequantizer is not None:
      params["dequantizer"] = self.dequantizer.start(key_dequantizer, batch["x"])
    return params
