"""Lower bounds on the log-likelihood of data under a denoiser: what a family's `log_prob_bound` is made of.

A bound is called as (key, path, denoise, x, levels, num, share) -> [B] nats; `num` draws are averaged, for less noise.
It bounds the log of a mass where the data have `levels`, and of a density for vectors.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp

from gen_jax.errors import at_least
from gen_jax.ops import dequantization, discretized, gaussians
from gen_jax.ops.divergence import Divergence
from gen_jax.ops.draws import systematic
from gen_jax.ops.shapes import expand, sum_flat
from gen_jax.processes import variance
from gen_jax.processes.gaussian import Gaussian
from gen_jax.resolve import part
from gen_jax.solvers import likelihood
from gen_jax.solvers.base import ODE, Solver, half_log_snr
from gen_jax.solvers.grids import Grid, span, time_at
from gen_jax.types import Array, Key

Denoise = Callable[[Array, Array], Array]  # (t, xt) -> x0
Share = Callable[[Array, Array], Array]  # (t, xt) -> the learned variance of a step: processes/variance.py


class Bound(Protocol):
  """The contract of this file.

  Attributes:
    variational: whether it needs denoisers that are scores, of data joined to independent noise.
  """

  variational: ClassVar[bool]

  def name(self, levels: int) -> str:
    """Which bound it is of data with so many levels, for reports."""

  def __call__(
    self, key: Key, path: Gaussian, denoise: Denoise, x: Array, levels: int, num: int, share: Share | None = None
  ) -> Array:
    """A lower bound on log p(x), in expectation over `key`: x [B, *shape] -> [B] nats.

    `share` is the variance that is learned for the steps of a chain, None for the least; in continuous time there is
    none to choose.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flow:
  """The density of the probability flow, for vectors: exact but for the solver and the divergence.

  Attributes:
    solver: a method for ordinary differential equations.
    grid: where it steps.
    steps: number of its steps.
    divergence: how divergences are taken.

  Raises:
    InputError: a solver that is not for ordinary differential equations; no steps.
  """

  solver: Solver = part("solvers", "ode.heun")
  grid: Grid = part("solvers", "grids.log_snr")
  steps: int = 64
  divergence: Divergence = part("ops", "divergence.Exact")

  def __post_init__(self):
    at_least(1, steps=self.steps)
    self.solver.of(ODE(lambda t, x: x))

  @property
  def name(self) -> str:
    """What it is taken with, for reports."""
    probes = f", Hutchinson-{self.divergence.columns}" if self.divergence.random else ""
    return f"probability flow, {self.steps} steps{probes}"

  def __call__(self, key: Key, path: Gaussian, denoise: Denoise, x: Array) -> likelihood.Estimate:
    """log p(x) at t_min, [B] nats, with its standard error over probes: `likelihood.log_prob`."""
    ts = span(self.grid, path, self.steps)[::-1]
    prior = lambda z: gaussians.log_prob(z, 0.0, jnp.log(path.sigma(ts[-1])), axes=z.ndim - 1)
    return likelihood.log_prob(self.solver, path.problem(denoise), key, x, ts, prior, self.divergence)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dequantized:
  """The density of the probability flow at data with uniform noise that fills the intervals of their levels.

  A model that was trained on the levels themselves has next to no density between them.

  Attributes:
    flow: how the density is taken.
  """

  flow: Flow = part("processes", "bounds.Flow", divergence="divergence.Hutchinson")

  variational: ClassVar[bool] = False

  def name(self, levels: int) -> str:
    """Which bound it is: without levels there is nothing to fill."""
    return f"{self.flow.name}, uniform dequantization" if levels else self.flow.name

  def __call__(
    self, key: Key, path: Gaussian, denoise: Denoise, x: Array, levels: int, num: int, share: Share | None = None
  ) -> Array:
    """E[log p(x + u)] + D log(step), u uniform (`dequantization.uniform`); for vectors there is no u."""
    del share

    def draw(key):
      key_noise, key_flow = jax.random.split(key)
      y, log_q = dequantization.uniform(key_noise, x, levels) if levels else (x, 0.0)
      return self.flow(key_flow, path, denoise, y).value - log_q

    return jax.lax.map(draw, jax.random.split(key, num)).mean(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuous:
  """The variational bound in continuous time: arXiv:2107.00630, eq. 11 and section 5.

  log p(x) >= E[log p(x | z_min)] - KL(q(z_max | x) || N(0, sigma_max^2)) - 1/2 int -snr'(t) E|x - x0hat(z_t, t)|^2 dt.

  The integral is taken over log(alpha / sigma), where it is that of the squared error of eps: times are drawn evenly
  spread there. It depends on the path's ends alone, so that the path that a model was trained on does not matter.
  """

  variational: ClassVar[bool] = True

  def name(self, levels: int) -> str:
    """Which bound it is, of any data."""
    del levels
    return "variational bound, continuous time"

  def __call__(
    self, key: Key, path: Gaussian, denoise: Denoise, x: Array, levels: int, num: int, share: Share | None = None
  ) -> Array:
    """The bound, with `num` times for each example."""
    del share
    key_ends, key_offset, key_eps = jax.random.split(key, 3)
    low, high = half_log_snr(path, jnp.array([path.t_max, path.t_min], x.dtype))
    offset = systematic(key_offset, len(x))

    def error(i):  # of eps, at times that are spread evenly over the batch, and over the draws of each example
      t = time_at(path, low + (high - low) * (offset + i) / num)
      xt, _ = path.perturb(jax.random.fold_in(key_eps, i), x, t)
      return _square(path, t, x - denoise(t, xt))

    loss = jax.lax.map(error, jnp.arange(num)).mean(0) * (high - low)
    return ends(key_ends, path, denoise, x, levels) - loss


@dataclasses.dataclass(frozen=True, kw_only=True)
class Discrete:
  """The variational bound of a chain of steps, DDPM's: arXiv:2006.11239, eq. 5; arXiv:2107.00630, eq. 11 and section 4.

  With the least variance it is the same as in continuous time, with 1/2 (snr(s) - snr(t)) for every step from t to s:
  less than it, and tighter the more steps there are. It is what a chain with that many steps really codes. A learned
  variance counts in all but the last term (arXiv:2102.09672, section 3.1): with the right one, few steps of normal data
  lose nothing.

  Attributes:
    steps: number of steps.
    grid: where they are.
  """

  steps: int = 1000
  grid: Grid = part("solvers", "grids.linear")

  variational: ClassVar[bool] = True

  def __post_init__(self):
    at_least(1, steps=self.steps)

  def name(self, levels: int) -> str:
    """With the number of steps, without which the bound means nothing."""
    del levels
    return f"variational bound, {self.steps} steps"

  def __call__(
    self, key: Key, path: Gaussian, denoise: Denoise, x: Array, levels: int, num: int, share: Share | None = None
  ) -> Array:
    """The bound, with `num` of the steps for each example."""
    key_ends, key_offset, key_eps = jax.random.split(key, 3)
    ts = span(self.grid, path, self.steps)
    offset = systematic(key_offset, len(x))

    def kl(i):  # between q(z_s | z_t, x) and the model's, nats
      n = jnp.minimum(((offset + i) / num * self.steps).astype(jnp.int32), self.steps - 1)
      t, s = ts[n], ts[n + 1]
      xt, _ = path.perturb(jax.random.fold_in(key_eps, i), x, t)
      learned = jnp.zeros_like(x) if share is None else share(t, xt)
      return sum_flat(variance.kl(path, learned, x - denoise(t, xt), t, s))

    loss = jax.lax.map(kl, jnp.arange(num)).mean(0) * self.steps
    return ends(key_ends, path, denoise, x, levels) - loss


def _square(path: Gaussian, t: Array, error: Array) -> Array:
  """snr(t) |error|^2, [B]: the squared error of eps that an error of x0 is."""
  return jnp.exp(2 * half_log_snr(path, t)) * sum_flat(jnp.square(error))


def ends(key: Key, path: Gaussian, denoise: Denoise, x: Array, levels: int) -> Array:
  """E[log p(x | z_min)] - KL(q(z_max | x) || N(0, sigma_max^2)), [B] nats.

  p(x | z_min) is a normal distribution about the denoiser's estimate, as wide as the noise that is left: its masses on
  the levels (arXiv:2006.11239, eq. 13), or its density.
  """
  t_min, t_max = (jnp.asarray(t, x.dtype) for t in (path.t_min, path.t_max))
  z, _ = path.perturb(key, x, t_min)
  log_std = -half_log_snr(path, t_min)
  mean = denoise(t_min, z)
  fit = discretized.gaussian(x, mean, log_std, levels) if levels else gaussians.log_prob(x, mean, log_std)
  kl = jnp.square(expand(path.alpha(t_max), x) * x / path.sigma(t_max)) / 2
  return sum_flat(fit - kl)
