"""Consistency models on MNIST, 28x28: one network evaluation a sample.

  python launch.py --config=configs/diffusion_mnist.py --workdir=runs/diffusion_mnist
  python launch.py --config=configs/consistency_mnist.py --workdir=runs/consistency_mnist

Easy consistency tuning from the parameters of the first run.

Variants:
  distillation: consistency distillation of that run, a step of Heun's method at a time.
  two: two evaluations a sample.
  smoke: a test of a few seconds, from random parameters.
"""

import ml_collections

_STEPS = 3000
_RUN = dict(name="load.load", workdir="runs/diffusion_mnist")
_UNTRAINED = dict(name="load.untrained", config="configs/diffusion_mnist.py:smoke")
_NEIGHBOURS = {
  None: dict(name="neighbours.tuning", total=_STEPS),
  "distillation": dict(name="neighbours.levels", num=18),
}
VARIANTS = {
  "distillation": dict(family=dict(teacher=_RUN, weight="neighbours.unit", target_decay=0.95)),
  "two": dict(family=dict(steps=2)),
  "smoke": dict(
    data=dict(name="digits.Digits"),
    family=dict(net=dict(channels=8), optimizer=dict(warmup=0)),
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
        name="consistency.Consistency",
        net=dict(name="unet.UNet", patch=2, channels=32, multipliers=(1, 2), blocks=1, attention=(1,)),
        path="gaussian.cosine",
        prediction="prediction.v",
        neighbours=_NEIGHBOURS[variant if variant in _NEIGHBOURS else None],
        weight="neighbours.inverse",
        distance="distances.pseudo_huber",
        target_decay=0.0,
        teacher=None,
        start=_UNTRAINED if variant == "smoke" else _RUN,
        clip=True,
        ema_decay=0.999,
        optimizer=dict(lr=5e-4, warmup=200, schedule="cosine", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=64),
      evaluate=dict(features="features.mnist"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
