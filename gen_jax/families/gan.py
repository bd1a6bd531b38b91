"""Generative adversarial networks: a generator makes data, a discriminator learns to tell, and each learns in turn."""

import dataclasses
import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gen_jax import steps
from gen_jax.errors import InputError
from gen_jax.family import State
from gen_jax.ops import adversarial, spectral
from gen_jax.ops.adversarial import Game
from gen_jax.resolve import part
from gen_jax.steps import Optimizer
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class GAN:
  """Two players (1406.2661, algorithm 1): `d_steps` steps of the discriminator, then one of the generator.

  The batch is cut into `d_steps` equal parts, so that each of those steps sees fresh data and fresh codes; the
  generator then learns from as many codes as one part has rows.

  Attributes:
    spec: the data.
    generator: a network z [B, latent] -> [B, *shape]; images pass through tanh.
    discriminator: a network x [B, *shape] -> logits [B].
    game: what the two minimise, from ops/adversarial.py.
    latent: size of the code.
    d_steps: steps of the discriminator for one of the generator.
    r1: weight gamma of the penalty on the gradient at real data (1801.04406, eq. 9).
    r1_every: steps of the discriminator from one such penalty to the next, which then weighs as much more
      (1912.04958, section 3.1).
    gradient_penalty: weight lambda of the penalty on the gradient between real and generated data (1704.00028, eq. 3).
    spectral_norm: whether the kernels of the discriminator are divided by their largest singular values (1802.05957).
    ema_decay: of the moving average of the parameters that is sampled from; None for none.
    g_optimizer, d_optimizer: the optimisers.

  Raises:
    InputError: settings that do not fit each other or the data.
  """

  spec: Spec
  generator: nn.Module = part("nets", "mlp.MLP", width=128, depth=3)
  discriminator: nn.Module = part("nets", "mlp.MLP", width=128, depth=3)
  game: Game = part("ops", "adversarial.non_saturating")
  latent: int = 64
  d_steps: int = 1
  r1: float = 0.0
  r1_every: int = 1
  gradient_penalty: float = 0.0
  spectral_norm: bool = False
  ema_decay: float | None = 0.999
  g_optimizer: Optimizer = part("steps", "Optimizer", lr=2e-4, b1=0.5)
  d_optimizer: Optimizer = part("steps", "Optimizer", lr=2e-4, b1=0.5)

  conditions: ClassVar[tuple[str, ...]] = ()
  evaluations: ClassVar[int] = 1

  def __post_init__(self):
    for name in ("latent", "d_steps", "r1_every"):
      if getattr(self, name) < 1:
        raise InputError(f"{name} = {getattr(self, name)} should be at least 1")
    for name in ("r1", "gradient_penalty"):
      if getattr(self, name) < 0:
        raise InputError(f"{name} = {getattr(self, name)} should not be negative")

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step; `extra["u"]` holds the vectors of spectral normalisation, if there are any.

    Raises:
      InputError: `d_steps` does not divide the batch.
    """
    x = batch["x"]
    if len(x) % self.d_steps:
      raise InputError(f"a batch of {len(x)} cannot be cut into d_steps = {self.d_steps} equal parts: use a multiple")
    key_g, key_d, key_u = jax.random.split(key, 3)
    g = self._generator.init(key_g, jnp.zeros((1, self.latent)))
    d = self._discriminator.init(key_d, x[:1])
    return State(
      step=jnp.zeros((), jnp.int32),
      params={"g": g, "d": d},
      opt={"g": self.g_optimizer.tx.init(g), "d": self.d_optimizer.tx.init(d)},
      ema=None if self.ema_decay is None else jax.tree.map(jnp.copy, {"g": g, "d": d}),
      extra={"u": spectral.start(key_u, d)} if self.spectral_norm else {},
    )

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """`d_steps` steps of the discriminator, one of the generator, one of the moving average.

    Metrics: the two losses, the mean logits of real and of generated data, the share of pairs of the two that the
    discriminator orders rightly, its penalties, and the norms of both gradients.
    """
    key_d, key_g = jax.random.split(key)
    x = batch["x"].reshape(self.d_steps, -1, *self.spec.shape)
    num, g = x.shape[1], state.params["g"]

    def turn(carry, inputs):
      d, opt, u = carry
      key, index, real = inputs
      key_z, key_penalty = jax.random.split(key)
      fake = self.sample(key_z, state.params, num)
      u = spectral.iterate(d, u) if self.spectral_norm else u
      loss = functools.partial(self._loss_d, key=key_penalty, index=index, u=u, real=real, fake=fake)
      grads, metrics = jax.grad(loss, has_aux=True)(d)
      d, opt = steps.apply(self.d_optimizer, grads, opt, d)
      return (d, opt, u), {**metrics, "grad_norm_d": optax.tree.norm(grads)}

    indices = state.step * self.d_steps + jnp.arange(self.d_steps)
    carry = state.params["d"], state.opt["d"], state.extra.get("u")
    inputs = jax.random.split(key_d, self.d_steps), indices, x
    (d, opt_d, u), m = jax.lax.scan(turn, carry, inputs, unroll=True)  # convolutions in a loop are slow on a CPU
    m = jax.tree.map(jnp.mean, m)

    loss_g = lambda g: self.game.generator(self._judge(d, u)(self.sample(key_g, {"g": g}, num)))
    value, grads = jax.value_and_grad(loss_g)(g)
    g, opt_g = steps.apply(self.g_optimizer, grads, state.opt["g"], g)

    params = {"g": g, "d": d}
    state = state.replace(
      step=state.step + 1,
      params=params,
      opt={"g": opt_g, "d": opt_d},
      ema=steps.average(state.ema, params, self.ema_decay or 0.0, state.step),
      extra={"u": u} if self.spectral_norm else state.extra,
    )
    first = {"loss_g": value, "loss_d": m.pop("loss_d")}
    return state, {**first, **m, "grad_norm_g": optax.tree.norm(grads)}

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples, [num, *shape]."""
    del cond
    out = self._generator.apply(params["g"], jax.random.normal(key, (num, self.latent)))
    return jnp.tanh(out) if self.spec.kind == "image" else out

  def _loss_d(self, d: PyTree, *, key: Key, index: Array, u: PyTree, real: Array, fake: Array) -> tuple[Array, Metrics]:
    """The loss of the discriminator, and what there is to know about it."""
    judge = self._judge(d, u)
    on_real, on_fake = jnp.split(judge(jnp.concatenate([real, fake])), 2)
    loss, penalty = self.game.discriminator(on_real, on_fake), jnp.zeros(())
    if self.gradient_penalty:
      penalty += self.gradient_penalty * adversarial.gradient_penalty(key, judge, real, fake)
    if self.r1:
      weight = self.r1 * self.r1_every
      due = index % self.r1_every == 0
      penalty += jax.lax.cond(due, lambda: weight * adversarial.r1(judge, real), lambda: jnp.zeros(()))
    ordered = jnp.mean(on_real[:, None] > on_fake)
    metrics = {"loss_d": loss, "real": on_real.mean(), "fake": on_fake.mean(), "ordered": ordered, "penalty": penalty}
    return loss + penalty, metrics

  def _judge(self, d: PyTree, u: PyTree):
    """The discriminator with parameters `d`, as a function of x."""
    params = spectral.normalize(d, u) if self.spectral_norm else d
    return lambda x: self._discriminator.apply(params, x)

  @functools.cached_property
  def _generator(self) -> nn.Module:
    return self.generator.clone(out=self.spec.shape)

  @functools.cached_property
  def _discriminator(self) -> nn.Module:
    return self.discriminator.clone(out=())
