"""Flow matching: a network learns the velocity along paths from data to noise, a solver follows it back."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, at_least
from gen_jax.family import State
from gen_jax.ops.shapes import spread
from gen_jax.processes.bounds import Bound
from gen_jax.processes.coupling import Coupling
from gen_jax.processes.denoising import Denoising
from gen_jax.processes.gaussian import Gaussian
from gen_jax.processes.prediction import Prediction
from gen_jax.processes.probes import Probed
from gen_jax.processes.times import Times
from gen_jax.processes.weighting import Weighting
from gen_jax.resolve import part
from gen_jax.solvers.base import Solver
from gen_jax.solvers.grids import Grid
from gen_jax.types import Array, Batch, Cond, Key, PyTree

_CHUNK = 256  # pairs that a teacher makes at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowMatching(Denoising, Probed):
  """Conditional flow matching: arXiv:2210.02747, eq. 9; on any Gaussian path, as arXiv:2303.08797 with a Gaussian base.

  The loss is E|v(xt, t) - dxt/dt|^2 with xt = alpha(t) x0 + sigma(t) eps for pairs (x0, eps), and samples solve
  dx/dt = v(x, t) from noise to data. Whatever the pairs are, alpha E[x0 | xt] + sigma E[eps | xt] = xt, so that the
  velocity and the denoiser say the same, and solvers and likelihoods are those of diffusion models.

  The pairs make the difference. Independent ones cross; `coupling="coupling.optimal"` joins each example to noise that
  is near (arXiv:2302.00482); a `teacher`, an earlier run, joins noise to the samples that it makes of it, which
  straightens its flow (reflow: arXiv:2209.03003, algorithm 1), and a model trained on those can be the next teacher.

  Attributes:
    coupling: which noise belongs to which example.
    teacher: the run whose flow is straightened: dict(name="load.load", workdir="runs/..."); None for data.
    pairs: how many pairs the teacher makes, at the start; they are kept in the state.

  Raises:
    InputError: settings that do not fit each other, the data or the teacher.
  """

  path: Gaussian = part("processes", "gaussian.rectified")
  prediction: Prediction = part("processes", "prediction.velocity")
  times: Times = part("processes", "times.uniform")
  weight: Weighting = part("processes", "weighting.velocity")
  solver: Solver = part("solvers", "ode.midpoint")
  grid: Grid = part("solvers", "grids.linear")
  steps: int = 16
  likelihood: Bound = part("processes", "bounds.Dequantized")
  coupling: Coupling = part("processes", "coupling.independent")
  teacher: Any = part("run", None)
  pairs: int = 16_384

  def __post_init__(self):
    super().__post_init__()
    if not self.has_score:
      if self.solver.stochastic:
        raise InputError("this solver adds noise, which needs a score: with coupled pairs choose one such as ode.heun")
      if self.likelihood.variational:
        raise InputError("a variational bound needs independent pairs: set likelihood='bounds.Dequantized'")
    if self.conditions and not self.coupling.independent:
      raise InputError(
        "coupling.optimal would tie the noise to the condition, of which sampling knows nothing: "
        "set conditions=() or coupling='coupling.independent'"
      )
    if self.teacher is not None:
      self._check_teacher()

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step, with the pairs of the teacher."""
    key_init, key_pairs = jax.random.split(key)
    state = super().init(key_init, batch)
    if self.teacher is None:
      return state
    probed = self._probed(jax.random.fold_in(key, 2), state.params, batch)  # 0 and 1 are split off above
    return state.replace(extra={**state.extra, "pairs": self._made(key_pairs), **probed})

  @property
  def has_score(self) -> bool:
    """Whether the denoiser is a score: xt is the data with noise that knows nothing of them."""
    return self.teacher is None and self.coupling.independent

  def _pairs(self, key: Key, state: State, batch: Batch) -> tuple[Batch, Array]:
    """Examples with their noise: from the batch, or of those that the teacher made."""
    if self.teacher is None:
      return batch, self.coupling.noise(key, batch["x"])
    row = spread(jax.random.randint(key, (len(batch["x"]),), 0, self.pairs))
    drawn = {name: value[row] for name, value in state.extra["pairs"].items()}
    return drawn, drawn["eps"]

  def _made(self, key: Key) -> PyTree:
    """`pairs` rows of noise "eps", what the teacher makes of it, "x", and its labels."""
    chunk = min(_CHUNK, self.pairs)

    def some(key):
      key_eps, key_label, key_path = jax.random.split(key, 3)
      eps = jax.random.normal(key_eps, (chunk, *self.spec.shape))
      cond: Cond = {"label": jax.random.randint(key_label, (chunk,), 0, self.spec.classes)} if self.conditions else {}
      return {"eps": eps, "x": self._taught(key_path, eps, cond or None), **cond}

    made = jax.lax.map(some, jax.random.split(key, -(-self.pairs // chunk)))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[: self.pairs], made)

  @property
  def _followed(self) -> bool:
    return self.teacher is not None

  def _ends(self, noise: Array, cond: Cond) -> Array:
    return self._taught(jax.random.key(0), noise / self.path.sigma(jnp.asarray(self.path.t_max)), cond)

  def _taught(self, key: Key, eps: Array, cond: Cond) -> Array:
    """What the teacher makes of standard normal noise."""
    family, params = self.teacher.family, self.teacher.params
    path = family.path_of(params)
    return family.transport(key, params, path.sigma(jnp.asarray(path.t_max)) * eps, cond)

  def _check_teacher(self):
    teacher = self.teacher.family
    if not isinstance(teacher, Denoising):
      raise InputError(f"teacher: {type(teacher).__name__} has no flow to straighten: choose a run of flow matching")
    if teacher.solver.stochastic:
      raise InputError("teacher: its sampler adds noise: choose a run whose solver is deterministic")
    if teacher.spec.shape != self.spec.shape:
      raise InputError(f"teacher: its data have the shape {teacher.spec.shape}, these {self.spec.shape}")
    if teacher.conditions != self.conditions or set(self.conditions) - {"label"}:
      raise InputError(
        f"teacher: it is conditioned on {teacher.conditions}, this on {self.conditions}: of labels alone"
      )
    at_least(1, pairs=self.pairs)
