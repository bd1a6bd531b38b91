"""Distribution matching distillation: a generator whose samples, with noise added, are distributed as a teacher's."""

import dataclasses

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, require
from gen_jax.family import State
from gen_jax.ops.shapes import expand, mean_flat, spread
from gen_jax.processes.adversary import Adversary
from gen_jax.processes.consistency import multistep
from gen_jax.processes.student import Distilled
from gen_jax.processes.times import Times
from gen_jax.processes.weighting import Weighting
from gen_jax.resolve import part
from gen_jax.solvers.grids import lay
from gen_jax.steps import Optimizer, apply
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree

_LEAST = 1e-6  # of the size that a step is divided by, where a sample is what the teacher takes it for


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributionMatching(Distilled):
  """Distribution matching distillation: arXiv:2311.18828, without its regression, as in arXiv:2405.14867.

  A generator G descends a weighted mean over times t of KL(q_t || p_t), where p_t is the teacher's density at t and q_t
  that of samples of G with noise. Its gradient is the difference of two scores (2311.18828, eq. 7). That of p_t is the
  teacher's, with its guidance; that of q_t is learned by a critic, a copy of the teacher that goes on denoising, now
  samples of G (eq. 6). The critic has to follow G: 2405.14867, section 4.2, lets it take five steps for each of G's;
  here it takes one, and G should learn more slowly than it, without momentum: docs/few_steps.md has what else happens.

  Nothing ties a sample to what the teacher makes of the same noise, and so `probes` is 0 here.

  G is the network's estimate of the data at the first time of `grid`. With more `steps`, noise is added up to the next
  time and the estimate is made again; training then starts from what the steps before give (2405.14867, section 4.5).

  With an `adversary` G also learns to make what a discriminator takes for data. That of 2405.14867, section 4.3, sees
  noisy samples, by features of the critic, and counts for a fixed share; this one is a network of its own, sees samples
  without noise and without their conditions, and moves them as far as the difference of the scores does.

  Attributes:
    times: density of the times at which the scores are compared, and at which the critic learns.
    weight: weight of the critic's error of the data at each time.
    critic_optimizer: the critic's optimiser.
    adversary: the discriminator, the game, and the penalties; None for none.
    adversarial_weight: how much more the game moves the samples than the difference of the scores does.

  Raises:
    InputError: settings that do not fit each other, the data, or the runs that are named; no teacher.
  """

  probes: int = 0
  optimizer: Optimizer = part("steps", "Optimizer", lr=1e-4, b1=0.0)
  times: Times = part("processes", "times.uniform")
  weight: Weighting = part("processes", "weighting.edm", sigma_data=1.0)
  critic_optimizer: Optimizer = part("steps", "Optimizer")
  adversary: Adversary | None = part("processes", None)
  adversarial_weight: float = 1.0

  def __post_init__(self):
    super().__post_init__()
    if not self.teacher.family.has_score:
      raise InputError("teacher: it was trained on coupled pairs, and has no score: choose a run of independent ones")
    lay(self.grid, self.path, self.steps)  # what does not fit is refused here
    if self.times.start():
      raise InputError("times: there is no loss to learn them from: choose a fixed density, such as times.uniform")
    require(adversarial_weight=(self.adversarial_weight, self.adversarial_weight > 0, "positive"))

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step: the critic is the teacher, and the generator too where there is no `start`."""
    key_generator, key_adversary = jax.random.split(key)
    state, params = super().init(key_generator, batch), self._network()
    extra = {**state.extra, "critic": {"params": params, "opt": self.critic_optimizer.tx.init(params)}}
    if self.adversary is not None:
      extra["adversary"] = self.adversary.start(key_adversary, batch["x"])
    return state.replace(extra=extra)

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One step of the generator, and one of the critic and of the discriminator on the same samples."""
    key_generator, key_critic, key_adversary = jax.random.split(key, 3)
    state, metrics = super().step(key_generator, state, batch)
    extra = dict(state.extra)
    fake, critic = extra.pop("fake"), extra["critic"]
    loss, grads = jax.value_and_grad(self._critic_loss)(critic["params"], key_critic, {**batch, "x": fake})
    params, opt = apply(self.critic_optimizer, grads, critic["opt"], critic["params"])
    extra["critic"], metrics = {"params": params, "opt": opt}, {**metrics, "loss_critic": loss}
    if self.adversary is not None:
      extra["adversary"], seen = self.adversary.learn(key_adversary, extra["adversary"], batch["x"], fake)
      metrics = {**metrics, **seen}
    return state.replace(extra=extra), metrics

  def loss(self, params: PyTree, state: State, key: Key, batch: Batch) -> tuple[Array, tuple[Metrics, PyTree]]:
    """1/2 mean g^2, whose gradient in the samples is g, the gradient of the KL divergence: 2311.18828, eq. 7.

    g = (x0 of the critic - x0 of the teacher) / mean |sample - x0 of the teacher|, at noisy samples: eq. 8 but for the
    factor alpha(t), which would make it depend on how a path is scaled. "gap" is the root mean square of the numerator.
    And the game, where there is an `adversary`.
    """
    key_fake, key_t, key_eps = jax.random.split(key, 3)
    x = self._generate(params, key_fake, batch)
    fake = jax.lax.stop_gradient(x)
    t, xt = self._noisy(key_t, key_eps, fake)
    real = self.teach(state.extra, batch)(t, xt)
    gap = self._denoise(state.extra["critic"]["params"], batch)(t, xt) - real
    size = expand(mean_flat(jnp.abs(fake - real)), x)
    target = jax.lax.stop_gradient(fake - gap / jnp.maximum(size, _LEAST))
    error = lambda x: 0.5 * jnp.mean(jnp.square(x - target))
    metrics, extra = {"gap": jnp.sqrt(jnp.square(gap).mean())}, {**state.extra, "fake": fake}
    if self.adversary is None:
      return error(x), (metrics, extra)
    loss, seen = self.adversary.beside(state.extra["adversary"], error, x, self.adversarial_weight)
    return loss, ({**metrics, **seen}, extra)

  def transport(self, key: Key, params: PyTree, noise: Array, cond: Cond = None) -> Array:
    """The samples that the generator makes of `noise` [B, *shape], which has the scale sigma(t_max)."""
    return multistep(key, self._denoise(params, cond), self.path, noise, self._starts)

  def _generate(self, params: PyTree, key: Key, batch: Batch) -> Array:
    """A sample for each row of the batch, by any of the sampler's steps; those before it are not differentiated."""
    key_noise, key_path, key_num, key_net = jax.random.split(key, 4)
    noise, ts = spread(self.path.prior(key_noise, batch["x"].shape)), self._starts
    generate = self._denoise(params, batch, key_net)
    if self.steps == 1:
      return generate(ts[0], noise)
    before = self._denoise(jax.lax.stop_gradient(params), batch)

    def again(n, xt):
      key = jax.random.fold_in(key_path, n)
      return self.path.renoise(key, before(ts[n], xt), jnp.asarray(self.path.t_min), ts[n + 1])  # as `refine` does

    num = jax.random.randint(key_num, (), 0, self.steps)
    return generate(ts[num], jax.lax.fori_loop(0, num, again, noise))

  def _critic_loss(self, params: PyTree, key: Key, batch: Batch) -> Array:
    """The weighted error of the critic's estimates, averaged over times: 2311.18828, eq. 6."""
    key_t, key_eps, key_net = jax.random.split(key, 3)
    t, xt = self._noisy(key_t, key_eps, batch["x"])
    error = jnp.square(self._denoise(params, batch, key_net)(t, xt) - batch["x"])
    return jnp.mean(self.weight(self.path, t) * mean_flat(error))

  def _noisy(self, key_t: Key, key_eps: Key, x: Array) -> tuple[Array, Array]:
    """(times, x at those times)."""
    t, _ = self.times.draw(key_t, self.path, len(x), ())
    return t, self.path.perturb(key_eps, x, t)[0]

  @property
  def _starts(self) -> Array:
    """Where the sampler's steps start."""
    return lay(self.grid, self.path, self.steps)[:-1]
