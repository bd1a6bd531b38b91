"""Variational autoencoder on dynamically binarized MNIST, in the shape of arXiv:1509.00519, table 1 (86.8 nats there).

  python launch.py --config=configs/vae_mnist.py --workdir=runs/vae_mnist

10 CPU minutes of an Intel Xeon (AVX-512), seed 0; log p >= -86.5 +- 0.7 nats (IWAE-5000, 1,000
test images).

Variants:
  smoke: a test of a few steps.
"""

import ml_collections

VARIANTS = {
  "smoke": dict(
    data=dict(name="digits.Digits"),
    family=dict(latent=4, encoder=dict(width=16), decoder=dict(width=16)),
    train=dict(steps=4, batch_size=16, num_samples=16),
    evaluate=dict(num=64, features="features.digits", importance=2),
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=dict(name="tfds.MNIST", binarize="dynamic"),
      family=dict(
        name="vae.VAE",
        encoder=dict(name="mlp.MLP", width=200, depth=2),
        decoder=dict(name="mlp.MLP", width=200, depth=2),
        likelihood="likelihoods.Bernoulli",
        latent=50,
        optimizer=dict(lr=4e-3, eps=1e-4, schedule="cosine", decay_steps=60_000),
      ),
      train=dict(steps=60_000, batch_size=200),
      evaluate=dict(features="features.mnist", importance=5000),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
