"""Latent diffusion on coloured scenes of MNIST digits, 32x32x3, from the box and the class of each digit: a diffusion
model of the codes of an autoencoder, whose run has to be there.

  python launch.py --config=configs/autoencoder_scenes.py --workdir=runs/autoencoder_scenes
  python launch.py --config=configs/latent_diffusion_scenes.py --workdir=runs/latent_diffusion_scenes

36 CPU minutes of an AMD EPYC (AVX-512), after those of the autoencoder, seed 0; a digit reader finds 92% of the digits
at their place, and all of a scene in 87% (n = 1,000).

Variants:
  cifar10: of CIFAR-10, class-conditional; after the variant of that name of the autoencoder, in
    runs/autoencoder_cifar10; sized for a GPU. With the same images as there, 3.9 minutes of steps; Frechet distance
    1.14 (floor 0.091, cifar10 features, n = 2,000).
  smoke: a test of a few steps, of the codes of an untrained autoencoder of 8x8 digits.
"""

import ml_collections

_STEPS = 5000
_LONGER = 15_000
_DATA = {
  None: dict(name="digit_scenes.DigitScenes", colour=True),
  "cifar10": dict(name="tfds.CIFAR10", flip=True),
  "smoke": dict(name="digits.Digits"),
}
_UNTRAINED = dict(name="load.untrained", config="configs/autoencoder_scenes.py:smoke")
_PIXELS = dict(judge=None, num=2000)
VARIANTS = {
  "cifar10": dict(
    family=dict(
      autoencoder=dict(workdir="runs/autoencoder_cifar10"),
      prior=dict(
        net=dict(channels=64, attention=(0, 1)), conditions=("label",), steps=20, optimizer=dict(decay_steps=_LONGER)
      ),
    ),
    train=dict(steps=_LONGER, batch_size=128, num_samples=100),
    evaluate={**_PIXELS, "features": "features.cifar10"},
  ),
  "smoke": dict(
    family=dict(
      prior=dict(
        net=dict(channels=8, multipliers=(1,), attention=()), conditions=("label",), steps=2, optimizer=dict(warmup=0)
      ),
    ),
    train=dict(steps=4, batch_size=16, num_samples=20),
    evaluate={**_PIXELS, "num": 64, "features": "features.digits"},
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=_DATA[variant if variant in _DATA else None],
      family=dict(
        name="latent.Latent",
        autoencoder=_UNTRAINED if variant == "smoke" else dict(name="load.load", workdir="runs/autoencoder_scenes"),
        prior=dict(
          name="diffusion.Diffusion",
          net=dict(name="unet.UNet", channels=48, multipliers=(1, 2), blocks=2, attention=(1,)),
          conditions=("boxes",),
          cond_dropout=0.1,
          # boxes and classes are learned where there is little but noise, which unit weight on errors of eps neglects
          weight="weighting.simple" if variant == "cifar10" else dict(name="weighting.edm", sigma_data=1.0),
          guidance=dict(weight=2.0),
          solver="semilinear.dpmpp_2m",
          grid="grids.log_snr",
          steps=15,
          ema_decay=0.999,
          optimizer=dict(lr=1e-3, warmup=200, schedule="cosine", decay_steps=_STEPS, clip=1.0),
        ),
      ),
      train=dict(steps=_STEPS, batch_size=64),
      evaluate=dict(num=1000, features="features.identity", judge="scenes.Reader"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
