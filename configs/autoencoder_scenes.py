"""Autoencoder of coloured scenes of MNIST digits, 32x32x3: codes of 8x8x4, for configs/latent_diffusion_scenes.py.

  python launch.py --config=configs/autoencoder_scenes.py --workdir=runs/autoencoder_scenes

18 CPU minutes of an AMD EPYC (AVX-512), seed 0; test images come back with a PSNR of 35.7 dB (n = 1,000).

Variants:
  vq: the decoder is given vectors of a codebook of 512.
  cifar10: of CIFAR-10, 32x32x3, for the variant of that name there; sized for a GPU. On an H100 that was shared, with a
    balanced fifth of the training images, 2.5 minutes of steps; a PSNR of 27.4 dB (n = 2,000).
  smoke: a test of a few steps, on 8x8 digits.
"""

import ml_collections

_STEPS = 1500
_LONGER = 10_000
_NETS = dict(channels=16, multipliers=(1, 2, 4), blocks=1)
_WIDER = dict(channels=32)
_TINY = dict(channels=8, multipliers=(1, 1))
_DATA = {
  None: dict(name="digit_scenes.DigitScenes", colour=True),
  "cifar10": dict(name="tfds.CIFAR10", flip=True),
  "smoke": dict(name="digits.Digits"),
}
VARIANTS = {
  "vq": dict(family=dict(regularizer=dict(name="regularizers.VQ", size=512))),
  "cifar10": dict(
    family=dict(encoder=_WIDER, decoder=_WIDER, distance="distances.l1", optimizer=dict(lr=1e-3, decay_steps=_LONGER)),
    train=dict(steps=_LONGER, batch_size=128),
    evaluate=dict(num=2000, features="features.cifar10"),
  ),
  "smoke": dict(
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
      data=_DATA[variant if variant in _DATA else None],
      family=dict(
        name="autoencoder.Autoencoder",
        encoder=dict(name="autoencoder.Encoder", **_NETS),
        decoder=dict(name="autoencoder.Decoder", **_NETS),
        regularizer=dict(name="regularizers.KL"),
        distance="distances.pseudo_huber",  # the mean absolute error is content with black for a long time
        latent=4,
        optimizer=dict(lr=2e-3, warmup=100, schedule="cosine", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=64),
      evaluate=dict(num=1000, features="features.identity"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
