"""What a run shows on its way is what it shows at its end."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np

from gen_jax.data.pairs import Pair
from gen_jax.run import finish, sample
from gen_jax.types import Spec


@dataclasses.dataclass(frozen=True)
class Still:
  """Leaves the start where it is."""

  spec: Spec
  conditions: ClassVar = ("start",)
  evaluations: ClassVar = 1

  def sample(self, key, params, num, cond=None):
    return cond["start"]


def test_grids_are_told_rows_of_the_test_split(monkeypatch, tmp_path):
  source, seen = Pair(), []
  monkeypatch.setattr(sample, "picture", lambda path, spec, x, columns: seen.append(x))
  grids = finish.Grids(Still(source.spec), source, tmp_path, num=4, seed=0)
  for step in (1, 2):
    grids.write(step, {})
  real = source.prepare(jax.random.key(0), source.split("test")[np.arange(4)], training=False)["start"]
  np.testing.assert_array_equal(seen, [real, real])
