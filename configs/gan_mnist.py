"""GAN on MNIST: DCGAN without batch statistics, kept smooth by R1.

  python launch.py --config=configs/gan_mnist.py --workdir=runs/gan_mnist

35,000 steps, 58 CPU minutes of an AMD EPYC (AVX-512), seed 0; Frechet distance 0.119 (floor 0.095, mnist features,
n = 2,000). With 15,000 steps and a schedule of that length: 0.250; with 15,000 and two levels of twice the width
instead of three: 0.474.

Variants:
  smoke: a test of a few steps.
"""

import ml_collections

_STEPS = 35_000
_OPTIMIZER = dict(lr=1e-3, b1=0.0, schedule="linear", decay_steps=_STEPS)
VARIANTS = {
  "smoke": dict(
    data=dict(name="digits.Digits"),
    family=dict(latent=4, generator=dict(channels=(32, 16)), adversary=dict(net=dict(channels=(4, 8)))),
    train=dict(steps=4, batch_size=16, num_samples=16),
    evaluate=dict(num=64, features="features.digits"),
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=dict(name="tfds.MNIST"),
      family=dict(
        name="gan.GAN",
        generator=dict(name="dcgan.Generator", channels=(128, 64, 32)),
        adversary=dict(
          net=dict(name="dcgan.Discriminator", channels=(32, 64, 128)),
          r1=0.1,
          r1_every=4,
          optimizer=dict(_OPTIMIZER),
        ),
        latent=64,
        optimizer=dict(_OPTIMIZER),
      ),
      train=dict(steps=_STEPS, batch_size=64),
      evaluate=dict(features="features.mnist"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
