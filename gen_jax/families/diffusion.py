"""Gaussian diffusion models: a network learns to remove noise, a solver turns that into samples."""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, near
from gen_jax.family import State
from gen_jax.ops.shapes import expand
from gen_jax.processes import guidance
from gen_jax.processes.gaussian import Gaussian
from gen_jax.processes.prediction import Prediction
from gen_jax.processes.times import Times
from gen_jax.processes.weighting import Weighting
from gen_jax.resolve import part
from gen_jax.solvers.base import Solver, half_log_snr, integrate
from gen_jax.solvers.grids import Grid
from gen_jax.steps import Optimizer, descend, start
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diffusion:
  """Denoising diffusion: arXiv:2006.11239 (DDPM), arXiv:2206.00364 (EDM) and what lies between.

  Training minimises E[w(snr) (x0 - x0hat(xt, t))^2], the weight of `weight` on the error of the data. Sampling carries
  noise along `path` with `solver` in `steps` steps, then denoises once more at t_min.

  Attributes:
    spec: the data.
    net: a network net(x, time, label) -> of the shape of x.
    path: alpha and sigma.
    prediction: what the output of the network means.
    times: density of the training times.
    weight: weight of each noise level in the loss.
    conditions: ("label",) for a class-conditional model.
    label_dropout: share of training labels that are hidden, so that the model is an unconditional one as well.
    solver: what the sampler steps with.
    grid: where it steps.
    steps: number of its steps.
    guidance: weight of classifier-free guidance; 1 is none, 0 ignores the label.
    clip: whether the sampler clips estimates of x0 to [-1, 1].
    ema_decay: of the moving average of the parameters that is sampled from; None for none.
    optimizer: the optimiser.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  spec: Spec
  net: nn.Module = part("nets", "unet.UNet")
  path: Gaussian = part("processes", "gaussian.cosine")
  prediction: Prediction = part("processes", "prediction.v")
  times: Times = part("processes", "times.low_discrepancy")
  weight: Weighting = part("processes", "weighting.simple")
  conditions: tuple[str, ...] = ()
  label_dropout: float = 0.0
  solver: Solver = part("solvers", "semilinear.dpmpp_2m")
  grid: Grid = part("solvers", "grids.log_snr")
  steps: int = 31
  guidance: float = 1.0
  clip: bool = False
  ema_decay: float | None = 0.999
  optimizer: Optimizer = part("steps", "Optimizer")

  def __post_init__(self):
    for name in self.conditions:
      if name != "label":
        raise InputError(f"diffusion cannot be conditioned on {name!r}: {near(name, ['label'])}")
    if self.conditions and not self.spec.classes:
      raise InputError('conditions=("label",) needs data with classes, and these have none: set conditions=()')
    if self.label_dropout and not self.conditions:
      raise InputError('label_dropout needs a class-conditional model: set conditions=("label",)')
    if not 0.0 <= self.label_dropout < 1.0:
      raise InputError(f"label_dropout = {self.label_dropout} should be in [0, 1)")
    if self.guidance != 1.0 and not self.label_dropout:
      raise InputError(
        f"guidance = {self.guidance} needs a model trained with label dropout: "
        'train with conditions=("label",) and label_dropout=0.1, or set guidance=1'
      )
    if self.steps < 1:
      raise InputError(f"steps = {self.steps} should be at least 1")

  @property
  def evaluations(self) -> int:
    """Network evaluations per image: those of each step and the last denoising, twice where both halves are needed."""
    return (self.steps * self.solver.evaluations + 1) * (1 if self.guidance in (0.0, 1.0) else 2)

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step."""
    x, label = batch["x"], batch["label"] if self.conditions else None
    params = self._net.init(key, x, jnp.zeros(len(x)), label)
    return start(params, self.optimizer, ema=self.ema_decay is not None)

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One step of gradient descent on `loss`."""
    return descend(self.loss, self.optimizer, key, state, batch, ema_decay=self.ema_decay or 0.0)

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """Weighted squared error of the network's output; gain^2 turns the weight of x0 into that of the output."""
    key_t, key_eps, key_label, key_dropout = jax.random.split(key, 4)
    x = batch["x"]
    t = self.times(key_t, self.path, len(x))
    xt, _ = self.path.perturb(key_eps, x, t)
    label = self._hide(key_label, batch["label"]) if self.conditions else None
    around = self.prediction(self.path, t)
    inputs = (expand(around.scale, xt) * xt, around.time, label)
    out = self._net.apply(params, *inputs, train=True, rngs={"dropout": key_dropout})
    error = jnp.square(out - around.from_x0(x, xt)).reshape(len(x), -1).mean(axis=-1)
    weight = self.weight(jnp.exp(2 * half_log_snr(self.path, t))) * around.gain**2
    return jnp.mean(weight * error), ({}, state.extra)

  def denoiser(self, params: PyTree, cond: Cond = None) -> Callable[[Array, Array], Array]:
    """denoise(t, xt) -> x0, guided where there is guidance; without `cond`, unconditional.

    Raises:
      InputError: no label for a model that was never trained without one.
    """

    def denoise(t, xt, label):
      around = self.prediction(self.path, jnp.broadcast_to(t, xt.shape[:1]))
      return around.to_x0(self._net.apply(params, expand(around.scale, xt) * xt, around.time, label), xt)

    if not self.conditions:
      return lambda t, xt: denoise(t, xt, None)
    if cond is None and not self.label_dropout:
      raise InputError("this model was trained on labels alone: give cond with a label for each sample")
    if cond is None or self.guidance == 0.0:
      return lambda t, xt: denoise(t, xt, jnp.full(len(xt), self.spec.classes))
    if self.guidance == 1.0:
      return lambda t, xt: denoise(t, xt, cond["label"])
    return guidance.classifier_free(denoise, cond["label"], self.spec.classes, self.guidance)

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples, [num, *shape]."""
    key_prior, key_path = jax.random.split(key)
    denoise = self.denoiser(params, cond)
    denoise = guidance.clipped(denoise) if self.clip else denoise
    ts = self.grid(self.path, self.steps)
    x = self.path.prior(key_prior, (num, *self.spec.shape))
    x = integrate(self.solver, self.path.problem(denoise), key_path, x, ts)
    return denoise(ts[-1], x)

  @functools.cached_property
  def _net(self) -> nn.Module:
    return self.net.clone(classes=self.spec.classes if self.conditions else 0)

  def _hide(self, key: Key, label: Array) -> Array:
    """`label` with a share of `label_dropout` replaced by the null label."""
    hidden = jax.random.bernoulli(key, self.label_dropout, label.shape)
    return jnp.where(hidden, self.spec.classes, label)
