"""Latent diffusion on CIFAR-10: a diffusion model of the codes of an autoencoder, whose run has to be there.

  python launch.py --config=configs/autoencoder_cifar10.py --workdir=runs/autoencoder_cifar10
  python launch.py --config=configs/latent_diffusion_cifar10.py --workdir=runs/latent_diffusion_cifar10

Variants:
  smoke: a test of a few seconds, of the codes of an untrained autoencoder of 8x8 digits.
"""

import ml_collections

_STEPS = 20_000
VARIANTS = {
  "smoke": dict(
    data=dict(name="digits.Digits"),
    family=dict(
      prior=dict(net=dict(channels=8, multipliers=(1,), attention=()), steps=2, optimizer=dict(warmup=0)),
    ),
    train=dict(steps=4, batch_size=16, num_samples=20),
    evaluate=dict(num=64, features="features.digits"),
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  trained = dict(name="load.load", workdir="runs/autoencoder_cifar10")
  untrained = dict(name="load.untrained", config="configs/autoencoder_cifar10.py:smoke")
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=dict(name="tfds.CIFAR10"),
      family=dict(
        name="latent.Latent",
        autoencoder=untrained if variant == "smoke" else trained,
        prior=dict(
          name="diffusion.Diffusion",
          net=dict(name="unet.UNet", channels=64, multipliers=(1, 2), blocks=2, attention=(0, 1)),
          conditions=("label",),
          cond_dropout=0.1,
          guidance=dict(weight=2.0),
          solver="semilinear.dpmpp_2m",
          grid="grids.log_snr",
          steps=20,
          ema_decay=0.999,
          optimizer=dict(lr=1e-3, warmup=200, schedule="cosine", decay_steps=_STEPS, clip=1.0),
        ),
      ),
      train=dict(steps=_STEPS, batch_size=64),
      evaluate=dict(features="features.identity"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
