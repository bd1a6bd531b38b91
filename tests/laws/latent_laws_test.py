"""A run that models the codes of another, from end to end."""

import jax
import numpy as np

from gen_jax.run import config as configs
from gen_jax.run.load import load
from gen_jax.run.train import train

CONFIG = """
def get_config(variant=None):
  return dict(
    data=dict(name="synthetic.Ring", num_train=200, num_test=50),
    family=dict(name="vae.VAE", encoder=dict(width=8), decoder=dict(width=8), latent=3),
    train=dict(steps=3, batch_size=32, num_samples=8),
    evaluate=dict(num=20, likelihood_num=0, neighbours=2),
  )
"""


def test_one_run_models_the_codes_of_another(tmp_path):
  """The chain from end to end, with codes that are vectors: the run of a VAE, then one of diffusion in its codes."""
  file = tmp_path / "ring.py"
  file.write_text(CONFIG)
  first = train(configs.load(str(file)), tmp_path / "first")
  overrides = {
    "family": str(
      dict(
        name="latent.Latent",
        autoencoder=dict(name="load.load", workdir=str(tmp_path / "first")),
        prior=dict(name="diffusion.Diffusion", net=dict(name="mlp.TimeMLP", width=16, depth=1), steps=2),
      )
    )
  }
  train(configs.load(str(file), overrides.items()), tmp_path / "second")
  second = load(tmp_path / "second")
  assert second.family.code.shape == (3,) and not second.raw
  for old, new in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params["autoencoder"]), strict=True):
    np.testing.assert_array_equal(old, new)
