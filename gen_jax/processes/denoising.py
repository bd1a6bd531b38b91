"""What all families that denoise along a Gaussian path have in common: all but what their training pairs are."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, at_least, require
from gen_jax.family import State
from gen_jax.ops.shapes import mean_flat
from gen_jax.processes.bounds import Bound, Flow, Share
from gen_jax.processes.conditional import Conditional
from gen_jax.processes.gaussian import Gaussian
from gen_jax.processes.guidance import Guidance, classifier_free, clipped
from gen_jax.processes.prediction import Preconditioning, Prediction
from gen_jax.processes.times import Times
from gen_jax.processes.weighting import Weighting
from gen_jax.resolve import part
from gen_jax.solvers.base import Noise, Solver, independent, integrate
from gen_jax.solvers.grids import Grid, lay
from gen_jax.steps import start
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Denoising(Conditional):
  """Base of families: a network that denoises, sampled along a path by a solver.

  Training minimises E[w(t) |x0 - x0hat(xt, t)|^2], the weight of `weight` on the error of the data. Sampling carries
  noise along `path` with `solver` in `steps` steps, then denoises once more at the last time of `grid`.

  Attributes:
    net: gives an output of the shape of x.
    path: alpha and sigma.
    prediction: what the output of the network means.
    times: density of the training times.
    weight: weight of each time in the loss.
    cond_dropout: share of training examples whose condition is hidden, for a model that is unconditional as well.
    solver: what the sampler steps with.
    grid: where it steps.
    steps: number of its steps; 0 for the denoising alone.
    guidance: how the sampler exaggerates the condition, or what tells it from a worse model.
    clip: whether the sampler clips estimates of x0 to [-1, 1].
    flow: how `log_prob` is taken.
    likelihood: which bound `log_prob_bound` is.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  path: Gaussian = part("processes", "gaussian.cosine")
  prediction: Prediction = part("processes", "prediction.v")
  times: Times = part("processes", "times.low_discrepancy")
  weight: Weighting = part("processes", "weighting.simple")
  cond_dropout: float = 0.0
  solver: Solver = part("solvers", "semilinear.dpmpp_2m")
  grid: Grid = part("solvers", "grids.log_snr")
  steps: int = 31
  guidance: Guidance = part("processes", "guidance.classifier_free")
  clip: bool = False
  flow: Flow = part("processes", "bounds.Flow")
  likelihood: Bound = part("processes", "bounds.Continuous")

  def __post_init__(self):
    super().__post_init__()
    if self.cond_dropout and not self.conditions:
      raise InputError('cond_dropout needs a conditional model: set conditions=("label",)')
    require(cond_dropout=(self.cond_dropout, 0 <= self.cond_dropout < 1, "in [0, 1)"))
    self.guidance.check(self.spec, self.conditions, self.cond_dropout)
    at_least(0, steps=self.steps)

  @property
  def evaluations(self) -> int | None:
    """Network evaluations per image: those of each step and the last denoising, twice where both halves are needed."""
    calls = self.solver.calls(self.steps)
    return None if calls is None else (calls + 1) * self.guidance.evaluations

  @property
  def has_score(self) -> bool:
    """Whether the denoiser is a score: not where noise was chosen for the example that it is added to."""
    return True

  def bound(self, num: int = 1) -> str:
    """Which bound `log_prob_bound` is, whatever the number of draws."""
    del num
    return self.likelihood.name(self.spec.levels)

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step."""
    extra = {"times": memory} if (memory := self.times.start()) else {}
    return start(self._init(key, batch), self.optimizer, self.ema_decay, **extra)

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """The weighted error of the data, averaged over times; what is learned about times goes into `extra`."""
    key_pair, key_t, key_net = jax.random.split(key, 3)
    path, memory = self.path_of(params), state.extra.get("times", ())
    batch, eps = self._pairs(key_pair, state, batch)
    t, correction = self.times.draw(key_t, path, len(eps), memory)
    errors = self._errors(params, key_net, batch, t, path.mix(batch["x"], eps, t))
    extra = {**state.extra, "times": self.times.learn(memory, path, t, errors)} if memory else state.extra
    return jnp.mean(correction * self._balance(params, t, errors)), ({}, extra)

  def path_of(self, params: PyTree) -> Gaussian:
    """The path of a model with these parameters: `path`, unless a family learns it."""
    del params
    return self.path

  def denoiser(self, params: PyTree, cond: Cond = None) -> Callable[[Array, Array], Array]:
    """denoise(t, xt) -> x0, guided where there is guidance; without `cond`, unconditional.

    Raises:
      InputError: no `cond` for a model that was never trained without one.
    """
    return self._denoiser(params, cond, self.guidance)

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples, [num, *shape]."""
    key_prior, key_path = jax.random.split(key)
    noise = self.path_of(params).prior(key_prior, (num, *self.spec.shape))
    return self.transport(key_path, params, noise, cond)

  def transport(self, key: Key, params: PyTree, noise: Array, cond: Cond = None) -> Array:
    """The samples that the solver makes of `noise` [B, *shape], which has the scale sigma(t_max)."""
    path, denoise = self.path_of(params), self.denoiser(params, cond)
    denoise = clipped(denoise) if self.clip else denoise
    ts = lay(self.grid, path, self.steps)
    problem = path.problem(denoise)._replace(noise=self._noise(params, cond))
    return denoise(ts[-1], integrate(self.solver, problem, key, noise, ts))

  def estimator(self) -> str:
    """What `log_prob` is taken with."""
    return self.flow.name

  def log_prob(self, key: Key, params: PyTree, x: Array, cond: Cond = None) -> Array:
    """log p(x) of the probability flow, without guidance, [B] nats: a density, also of images."""
    return self.flow(key, self.path_of(params), self._plain(params, cond), x).value

  def log_prob_bound(self, key: Key, params: PyTree, x: Array, cond: Cond = None, num: int = 1) -> Array:
    """A lower bound on log p(x), without guidance, [B] nats: a mass for images, a density for vectors.

    Args:
      key: of the draws.
      params: the parameters.
      x: data.
      cond: conditions, a row per example.
      num: draws per example that are averaged, for less noise; the expectation is the same.

    Raises:
      InputError: `num` is less than 1.
    """
    at_least(1, num=num)
    path, denoise, share = self.path_of(params), self._plain(params, cond), self._variance(params, cond)
    return self.likelihood(key, path, denoise, x, self.spec.levels, num, share)

  def _pairs(self, key: Key, state: State, batch: Batch) -> tuple[Batch, Array]:
    """The batch to train on, and the noise of each example, of the shape of `x`: here any noise for any example."""
    del state
    return batch, jax.random.normal(key, batch["x"].shape)

  def _balance(self, params: PyTree, t: Array, errors: Array) -> Array:
    """What is minimised of the weighted errors at times t, all [B]: here they themselves."""
    del params, t
    return errors

  def _estimate(self, out: Array) -> Array:
    """The part of the network's output that `prediction` is about: all of it."""
    return out

  def _noise(self, params: PyTree, cond: Cond) -> Noise:
    """What drives a stochastic solver."""
    del params, cond
    return independent

  def _variance(self, params: PyTree, cond: Cond) -> Share | None:
    """The learned variance of the steps of a chain, if there is one."""
    del params, cond
    return None

  def _errors(self, params: PyTree, key: Key, batch: Batch, t: Array, xt: Array) -> Array:
    """Weighted squared errors of the data, [B], per entry, given xt [B, ...] at times t; some conditions are hidden.

    They are taken of the network's output: gain^2 turns the weight of x0 into that of the output.
    """
    path = self.path_of(params)
    around = self.prediction(path, t)
    return self._judged(path, around, self._output(params, key, batch, around)(xt), batch["x"], t, xt)

  def _judged(self, path: Gaussian, around: Preconditioning, out: Array, x: Array, t: Array, xt: Array) -> Array:
    """Weighted squared errors of the data x, [B], per entry, of the network's output for xt [B, ...] at times t."""
    error = mean_flat(jnp.square(self._estimate(out) - around.from_x0(x, xt)))
    return self.weight(path, t) * around.gain**2 * error

  def _output(self, params: PyTree, key: Key, batch: Batch, around: Preconditioning) -> Callable[[Array], Array]:
    """xt -> what the network says of it in training, some conditions of `batch` hidden."""
    key_hidden, key_dropout = jax.random.split(key)
    num = len(around.time)
    hidden = jax.random.bernoulli(key_hidden, self.cond_dropout, (num,)) if self.cond_dropout else None
    apply = functools.partial(self._net.apply, params, train=True, rngs={"dropout": key_dropout})
    return lambda xt: apply(*around.inputs(xt), self._cond(batch), hidden)

  def _denoiser(self, params: PyTree, cond: Cond, guidance: Guidance) -> Callable[[Array, Array], Array]:
    path, cond = self.path_of(params), self._cond(cond) if self.cond_dropout else self._needed(cond)

    def denoise(t, xt, cond, hidden):
      around = self.prediction(path, jnp.broadcast_to(t, xt.shape[:1]))
      out = self._apply(params, *around.inputs(xt), cond, hidden)
      return around.to_x0(self._estimate(out), xt)

    return guidance(path, denoise, cond)

  def _plain(self, params: PyTree, cond: Cond) -> Callable[[Array, Array], Array]:
    """The denoiser without guidance, under which there is a likelihood; clipped if samples are."""
    denoise = self._denoiser(params, cond, classifier_free())
    return clipped(denoise) if self.clip else denoise
