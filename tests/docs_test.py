"""Code in the documentation runs."""

import pathlib
import re

import jax
import numpy as np

from gen_jax.data.synthetic import TwoMoons
from gen_jax.steps import Optimizer

ROOT = pathlib.Path(__file__).parents[1]


def test_the_family_of_the_contract_learns():
  scope = {"__name__": "contract"}
  exec(re.search(r"```python\n(.*?)```", (ROOT / "docs" / "contract.md").read_text(), re.DOTALL)[1], scope)
  x = TwoMoons().split("train")[np.arange(1000)]["x"]
  family = scope["Gaussian"](spec=TwoMoons().spec, optimizer=Optimizer(lr=0.03))
  state, step = family.init(jax.random.key(0), {"x": x}), jax.jit(family.step)
  for n in range(300):
    state, _ = step(jax.random.key(n), state, {"x": x})
  samples = family.sample(jax.random.key(0), state.eval_params, 20_000)
  np.testing.assert_allclose(samples.mean(0), x.mean(0), atol=0.03)
  np.testing.assert_allclose(samples.std(0), x.std(0), rtol=0.05)
