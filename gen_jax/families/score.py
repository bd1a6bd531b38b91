"""Score matching: a network learns the gradient of the log-density of noisy data, Langevin dynamics follows it."""

import dataclasses

import jax

from gen_jax.ops.shapes import expand
from gen_jax.processes.denoising import Denoising
from gen_jax.processes.gaussian import Gaussian
from gen_jax.processes.prediction import Prediction
from gen_jax.processes.score_matching import Objective
from gen_jax.processes.times import Times
from gen_jax.resolve import part
from gen_jax.solvers.base import Solver
from gen_jax.types import Array, Batch, Key, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score(Denoising):
  """Noise-conditional score networks: arXiv:1907.05600, with a choice of how scores are matched.

  Training minimises E[sigma^2 objective] (eq. 6) over noise levels in geometric sequence; `weight` is that of half
  the squared error of the data, and `weighting.simple` is the paper's. Sampling is annealed Langevin dynamics
  (algorithm 1) through `steps` levels, and a last denoising.

  Only denoising score matching reads the clean data. Sliced and exact score matching know the noisy data alone: with
  `times="times.levels"`, num=1 and little noise they learn the score of the data as they are. That level is then the
  only one to sample at: `steps=1`, and a `step_size` that suits the data (`score_ring:pathless`).

  Attributes:
    objective: how scores are matched.
  """

  objective: Objective = part("processes", "score_matching.denoising")
  path: Gaussian = part("processes", "gaussian.ve", sigma_max=1.0)
  prediction: Prediction = part("processes", "prediction.eps")
  times: Times = part("processes", "times.levels", num=10)
  solver: Solver = part("solvers", "langevin.annealed")
  steps: int = 9

  def _errors(self, params: PyTree, key: Key, batch: Batch, t: Array, xt: Array) -> Array:
    key_net, key_objective = jax.random.split(key)
    path, around = self.path_of(params), self.prediction(self.path, t)
    a, s = expand(path.alpha(t), xt), expand(path.sigma(t), xt)
    output = self._output(params, key_net, batch, around)
    score = lambda x: (a * around.to_x0(output(x), x) - x) / s**2
    slope = (a * batch["x"] - xt) / s**2
    loss = self.objective(score, key_objective, xt, slope) / xt[0].size
    return self.weight(path, t) * path.sigma(t) ** 4 / path.alpha(t) ** 2 * loss
