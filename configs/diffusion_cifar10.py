"""Diffusion on CIFAR-10, 32x32x3, class-conditional, sampled with 32 network evaluations.

  python launch.py --config=configs/diffusion_cifar10.py --workdir=runs/diffusion_cifar10

Sized for a GPU: on an H100 that was shared with other runs, seed 0, with a balanced fifth of the training images, 4.4
minutes of steps; Frechet distance 0.190, and 0.179 when trained again (floor 0.091, cifar10 features, n = 2,000), at
most 3.58 bits/dim.

Variants:
  smoke: a test of a few steps.
"""

import ml_collections

_STEPS = 12_000
VARIANTS = {
  "smoke": dict(
    data=dict(name="digits.Digits", flip=False),
    family=dict(
      net=dict(channels=8, multipliers=(1,), blocks=1, attention=(), dtype="float32"),
      steps=2,
      optimizer=dict(warmup=0),
    ),
    train=dict(steps=4, batch_size=16, num_samples=20),
    evaluate=dict(num=64, features="features.digits", likelihood_num=64),
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=dict(name="tfds.CIFAR10", flip=True),
      family=dict(
        name="diffusion.Diffusion",
        net=dict(name="unet.UNet", channels=64, multipliers=(1, 2, 2), blocks=2, attention=(1,), dtype="bfloat16"),
        conditions=("label",),
        cond_dropout=0.1,
        guidance=dict(weight=1.5),
        solver="semilinear.dpmpp_2m",
        grid="grids.log_snr",
        steps=15,
        clip=True,
        ema_decay=0.999,
        optimizer=dict(lr=1e-3, warmup=500, schedule="cosine", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=128, num_samples=100),
      evaluate=dict(features="features.cifar10"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
