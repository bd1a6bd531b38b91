"""Autoencoder of CIFAR-10: images of 32x32x3 become codes of 8x8x4, for configs/latent_diffusion_cifar10.py.

  python launch.py --config=configs/autoencoder_cifar10.py --workdir=runs/autoencoder_cifar10

Variants:
  vq: the decoder is given vectors of a codebook of 512.
  smoke: a test of a few seconds, on 8x8 digits.
"""

import ml_collections

_STEPS = 10_000
_NETS = dict(channels=32, multipliers=(1, 2, 4), blocks=1)
_TINY = dict(channels=8, multipliers=(1, 1))
VARIANTS = {
  "vq": dict(family=dict(regularizer=dict(name="regularizers.VQ", size=512))),
  "smoke": dict(
    data=dict(name="digits.Digits"),
    family=dict(encoder=_TINY, decoder=_TINY, latent=2, optimizer=dict(warmup=0)),
    train=dict(steps=4, batch_size=16, num_samples=16),
    evaluate=dict(num=64, features="features.digits"),
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=dict(name="tfds.CIFAR10"),
      family=dict(
        name="autoencoder.Autoencoder",
        encoder=dict(name="autoencoder.Encoder", **_NETS),
        decoder=dict(name="autoencoder.Decoder", **_NETS),
        regularizer=dict(name="regularizers.KL"),
        distance="distances.l1",
        latent=4,
        optimizer=dict(lr=1e-3, warmup=100, schedule="cosine", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=64),
      evaluate=dict(features="features.identity"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
