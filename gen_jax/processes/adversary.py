"""The other player of a game: a discriminator that learns to tell data from what a model makes of noise."""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax import steps
from gen_jax.errors import at_least
from gen_jax.ops import adversarial, spectral
from gen_jax.ops.adversarial import Game
from gen_jax.resolve import part
from gen_jax.steps import Optimizer
from gen_jax.types import Array, Key, Metrics, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adversary:
  """A discriminator, the game that it plays, what keeps it smooth, and how it learns.

  What it knows is a tree with its `params`, their `opt`, the vectors `u` of spectral normalisation and the number of
  `turns` that it has had; a family keeps it in `State.extra`, because sampling does not need it.

  Attributes:
    net: a network x [B, *shape] -> logits [B].
    game: what the two minimise, from ops/adversarial.py.
    r1: weight gamma of the penalty on the gradient at real data (1801.04406, eq. 9).
    r1_every: turns from one such penalty to the next, which then weighs as much more (1912.04958, section 3.1).
    gradient_penalty: weight lambda of the penalty on the gradient between real and made data (1704.00028, eq. 3).
    spectral_norm: whether the kernels of the network are divided by their largest singular values (1802.05957).
    optimizer: the optimiser.

  Raises:
    InputError: settings that make no sense.
  """

  net: nn.Module = part("nets", "mlp.MLP", width=128, depth=3)
  game: Game = part("ops", "adversarial.non_saturating")
  r1: float = 0.0
  r1_every: int = 1
  gradient_penalty: float = 0.0
  spectral_norm: bool = False
  optimizer: Optimizer = part("steps", "Optimizer", lr=2e-4, b1=0.5)

  def __post_init__(self):
    at_least(1, r1_every=self.r1_every)
    at_least(0, r1=self.r1, gradient_penalty=self.gradient_penalty)

  def start(self, key: Key, x: Array) -> PyTree:
    """What it knows before its first turn, of data like x [B, *shape]."""
    params = self._net.init(key, x[:1])
    return {
      "params": params,
      "opt": self.optimizer.tx.init(params),
      "u": spectral.start(jax.random.fold_in(key, 1), params) if self.spectral_norm else None,
      "turns": jnp.zeros((), jnp.int32),
    }

  def learn(self, key: Key, known: PyTree, real: Array, fake: Array) -> tuple[PyTree, Metrics]:
    """One turn, on as many real examples [B, *shape] as made ones: what it knows then, and metrics.

    Metrics: its loss, the mean logits of real and of made data, the share of pairs of the two that it orders rightly,
    its penalties, and the norm of its gradient.
    """
    u = spectral.iterate(known["params"], known["u"]) if self.spectral_norm else None
    known = {**known, "u": u}
    loss = functools.partial(self._loss, key=key, known=known, real=real, fake=fake)
    grads, metrics = jax.grad(loss, has_aux=True)(known["params"])
    params, opt = steps.apply(self.optimizer, grads, known["opt"], known["params"])
    metrics = {**metrics, "grad_norm_d": steps.norm(grads)}
    return {**known, "params": params, "opt": opt, "turns": known["turns"] + 1}, metrics

  def judge(self, known: PyTree) -> Callable[[Array], Array]:
    """x [B, *shape] -> logits [B], large where it believes in x."""
    params = spectral.normalize(known["params"], known["u"]) if self.spectral_norm else known["params"]
    return lambda x: self._net.apply(params, x)

  def fooled(self, known: PyTree, fake: Array) -> Array:
    """The loss of whoever made `fake` [B, *shape]: a scalar, small where the discriminator believes in it."""
    return self.game.generator(self.judge(known)(fake))

  def beside(self, known: PyTree, main: Callable[[Array], Array], fake: Array, weight: float) -> tuple[Array, Metrics]:
    """main(fake) + lambda fooled(fake), for a loss `main` of what was made, and both losses and lambda as metrics.

    With `weight` = 1, lambda is such that the game moves `fake` [B, *shape] as far as `main` does (2012.09841, eq. 7).
    """
    fooled = functools.partial(self.fooled, known)
    balanced = weight * adversarial.balance(main, fooled, fake)
    far, caught = main(fake), fooled(fake)
    return far + balanced * caught, {"error": far, "caught": caught, "weight": balanced}

  def _loss(self, params: PyTree, *, key: Key, known: PyTree, real: Array, fake: Array) -> tuple[Array, Metrics]:
    """Its loss, and what there is to know about it."""
    judge = self.judge({**known, "params": params})
    on_real, on_fake = jnp.split(judge(jnp.concatenate([real, fake])), 2)
    loss, penalty = self.game.discriminator(on_real, on_fake), jnp.zeros(())
    if self.gradient_penalty:
      penalty += self.gradient_penalty * adversarial.gradient_penalty(key, judge, real, fake)
    if self.r1:
      weight, due = self.r1 * self.r1_every, known["turns"] % self.r1_every == 0
      penalty += jax.lax.cond(due, lambda: weight * adversarial.r1(judge, real), lambda: jnp.zeros(()))
    ordered = jnp.mean(on_real[:, None] > on_fake)
    metrics = {"loss_d": loss, "real": on_real.mean(), "fake": on_fake.mean(), "ordered": ordered, "penalty": penalty}
    return loss + penalty, metrics

  @functools.cached_property
  def _net(self) -> nn.Module:
    return self.net.clone(out=())
