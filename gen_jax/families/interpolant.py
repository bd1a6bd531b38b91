"""Stochastic interpolants between two data sets: samples of one are made of samples of the other."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, at_least
from gen_jax.family import State, entries
from gen_jax.ops.shapes import expand
from gen_jax.ops.slope import value_and_slope
from gen_jax.processes import times
from gen_jax.processes.interpolation import Interpolation
from gen_jax.resolve import part
from gen_jax.solvers.base import ODE, SDE, Problem, Solver, integrate
from gen_jax.steps import Optimizer, descend, start
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree, Spec

Field = Callable[[Array, Array], Array]  # (t, xt) -> of the shape of xt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interpolant:
  """A two-sided stochastic interpolant: arXiv:2303.08797, sections 2 and 4.

  Between an example x of the data and one of `start` lies x_t = alpha x + beta start + gamma z. Two networks of the
  same kind learn by least squares the velocity v = E[alpha' x + beta' start | x_t] and the noise eta = E[z | x_t].
  The score of x_t is -eta / gamma, and the density of x_t is carried from t = 1 to 0 by

    dx = (v + gamma' eta) dt                                                  with a deterministic solver,
    dx = (v + gamma' eta - eps score) dt + sqrt(2 eps) dw,  eps = noise gamma,  with a stochastic one,

  where eps, which is free, is chosen so that nothing is divided by gamma. A last denoising takes x out of x_t at t_min.

  Attributes:
    spec: the data.
    net: a network net(x, time) -> of the shape of x; there are two of them.
    start: the entry of a batch that samples are made of, of the shape of the data: `cond` has a row of it per sample.
    interpolation: alpha, beta and gamma.
    solver: what the sampler steps with: for differential equations, without or with noise.
    steps: number of its steps, evenly spaced.
    noise: how much of it a stochastic solver adds.
    ema_decay: of the moving average of the parameters that is sampled from; None for none.
    optimizer: the optimiser.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  spec: Spec
  net: nn.Module = part("nets", "unet.UNet")
  start: str = "start"
  interpolation: Interpolation = part("processes", "interpolation.linear")
  solver: Solver = part("solvers", "sde.heun")
  steps: int = 64
  noise: float = 1.0
  ema_decay: float | None = 0.999
  optimizer: Optimizer = part("steps", "Optimizer")

  def __post_init__(self):
    (entry,) = entries(self.spec, self.conditions)
    if entry.shape != self.spec.shape:
      raise InputError(
        f"start: {self.start!r} has the shape {entry.shape}, the data {self.spec.shape}: they must agree"
      )
    at_least(1, steps=self.steps)
    if self.noise <= 0:
      raise InputError(f"noise = {self.noise} should be more than 0: for none choose a solver such as ode.heun")
    self.solver.of(self._problem(lambda t, x: x, lambda t, x: x))

  @property
  def conditions(self) -> tuple[str, ...]:
    """The entry that samples are made of."""
    return (self.start,)

  @property
  def evaluations(self) -> int | None:
    """Network evaluations per image: two for each drift, and two for the last denoising."""
    calls = self.solver.calls(self.steps)
    return None if calls is None else 2 * (calls + 1)

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step."""
    time = jnp.zeros(len(batch["x"]))
    keys = dict(zip(("velocity", "noise"), jax.random.split(key), strict=True))
    params = {name: self.net.init(key, batch["x"], time) for name, key in keys.items()}
    return start(params, self.optimizer, self.ema_decay)

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One step of gradient descent on `loss`."""
    return descend(self.loss, self.optimizer, key, state, batch, ema_decay=self.ema_decay)

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """Mean squared errors of the velocity and of the noise, per entry of x, added up."""
    key_t, key_z, key_velocity, key_noise = jax.random.split(key, 4)
    x, begin, bridge = batch["x"], batch[self.start], self.interpolation
    t, _ = times.low_discrepancy().draw(key_t, bridge, len(x), ())
    z = jax.random.normal(key_z, x.shape)
    velocity, noise = self.fields(params, {"velocity": key_velocity, "noise": key_noise})
    xt = bridge.mix(x, begin, z, t)
    errors = {
      "velocity_error": jnp.square(velocity(t, xt) - bridge.slope(x, begin, t)).mean(),
      "noise_error": jnp.square(noise(t, xt) - z).mean(),
    }
    return errors["velocity_error"] + errors["noise_error"], (errors, state.extra)

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples, [num, *shape], each made of its row of `cond`.

    Raises:
      InputError: no rows to make them of.
    """
    if cond is None:
      raise InputError(f"samples are made of {self.start!r}: give cond with one for each sample")
    key_noise, key_path = jax.random.split(key)
    bridge, (velocity, noise) = self.interpolation, self.fields(params)
    ts = jnp.linspace(bridge.t_max, bridge.t_min, self.steps + 1)
    z = jax.random.normal(key_noise, (num, *self.spec.shape))
    x = cond[self.start] + bridge.gamma(ts[0]) * z
    x = integrate(self.solver, self._problem(velocity, noise), key_path, x, ts)
    t = ts[-1]
    return bridge.data(x - bridge.gamma(t) * noise(t, x), velocity(t, x), t)

  def fields(self, params: PyTree, keys: dict[str, Key] | None = None) -> tuple[Field, Field]:
    """v and eta, each (t, xt) -> of the shape of xt; as in training where there are `keys` for what is random then."""

    def field(name):
      how: dict[str, Any] = {"train": True, "rngs": {"dropout": keys[name]}} if keys else {}
      return lambda t, xt: self.net.apply(params[name], xt, jnp.broadcast_to(t, xt.shape[:1]), **how)

    return field("velocity"), field("noise")

  def _problem(self, velocity: Field, noise: Field) -> Problem:
    """What the solver solves."""
    gamma = self.interpolation.gamma

    def drift(t, x):
      slope = value_and_slope(gamma, t)[1]
      extra = self.noise if self.solver.stochastic else 0.0  # -eps score = noise eta
      return velocity(t, x) + expand(slope + extra, x) * noise(t, x)

    if not self.solver.stochastic:
      return ODE(drift)
    return SDE(drift, lambda t: jnp.sqrt(2.0 * self.noise * gamma(t)))
