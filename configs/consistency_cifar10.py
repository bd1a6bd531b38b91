"""Consistency models on CIFAR-10, 32x32x3, class-conditional: one network evaluation a sample.

  python launch.py --config=configs/diffusion_cifar10.py --workdir=runs/diffusion_cifar10
  python launch.py --config=configs/consistency_cifar10.py --workdir=runs/consistency_cifar10

Consistency distillation of the first run and of its guidance, a step of Heun's method at a time. Sized for a GPU, and
not scored yet.

Variants:
  smoke: a test of a few steps, from random parameters.
"""

import ml_collections

_STEPS = 8000
_RUN = dict(name="load.load", workdir="runs/diffusion_cifar10")
_UNTRAINED = dict(name="load.untrained", config="configs/diffusion_cifar10.py:smoke")
VARIANTS = {
  "smoke": dict(
    data=dict(name="digits.Digits", flip=False),
    family=dict(
      net=dict(channels=8, multipliers=(1,), blocks=1, attention=(), dtype="float32"),
      probes=2,
      optimizer=dict(warmup=0),
    ),
    train=dict(steps=4, batch_size=16, num_samples=20),
    evaluate=dict(num=64, features="features.digits"),
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  run = _UNTRAINED if variant == "smoke" else _RUN
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=dict(name="tfds.CIFAR10", flip=True),
      family=dict(
        name="consistency.Consistency",
        net=dict(name="unet.UNet", channels=64, multipliers=(1, 2, 2), blocks=2, attention=(1,), dtype="bfloat16"),
        conditions=("label",),
        path="gaussian.cosine",
        prediction="prediction.v",
        neighbours=dict(name="neighbours.levels", num=18),
        weight="neighbours.unit",
        distance="distances.pseudo_huber",
        target_decay=0.95,
        teacher=run,
        start=run,
        clip=True,
        ema_decay=0.999,
        optimizer=dict(lr=5e-4, warmup=200, schedule="cosine", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=128, sample_every=_STEPS // 4, num_samples=100),
      evaluate=dict(features="features.cifar10"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
