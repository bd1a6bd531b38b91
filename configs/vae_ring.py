"""Variational autoencoder on a ring of eight Gaussians in the plane.

  python launch.py --config=configs/vae_ring.py --workdir=runs/vae_ring

Variants:
  smoke: a test of a few steps.
"""

import ml_collections

VARIANTS = {
  "smoke": dict(
    family=dict(encoder=dict(width=16), decoder=dict(width=16)),
    train=dict(steps=4, batch_size=16, num_samples=16),
    evaluate=dict(num=64),
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=dict(name="synthetic.Ring"),
      family=dict(
        name="vae.VAE",
        encoder=dict(name="mlp.MLP", width=128, depth=2),
        decoder=dict(name="mlp.MLP", width=128, depth=2),
        likelihood="likelihoods.Gaussian",
        latent=4,
        optimizer=dict(lr=2e-3, schedule="cosine", decay_steps=10_000),
      ),
      train=dict(steps=10_000, batch_size=256),
      evaluate=dict(),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
