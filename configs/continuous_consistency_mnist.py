"""Consistency distillation in continuous time (sCD) on MNIST, 28x28.

  python launch.py --config=configs/continuous_consistency_mnist.py --workdir=runs/continuous_consistency_mnist

Distils the run in runs/diffusion_mnist, which configs/diffusion_mnist.py makes, and starts from its parameters. 16 CPU
minutes of an AMD EPYC (AVX-512), seed 0; Frechet distance 5.55 with one evaluation, 4.47 with two, 3.41 with four
(floor 0.095, mnist features, n = 2,000).

Variants:
  longer: 6,000 steps of batch 256, on a GPU: 2 minutes of steps of an H100 that was shared; 3.17, 2.10 and 1.58.
  smoke: a test of a few steps, without a teacher.
"""

import ml_collections

_STEPS = 2800
_LONGER = 6000
_RUN = dict(name="load.load", workdir="runs/diffusion_mnist")
VARIANTS = {
  "longer": dict(
    family=dict(warmup=1000, optimizer=dict(decay_steps=_LONGER)), train=dict(steps=_LONGER, batch_size=256)
  ),
  "smoke": dict(
    data=dict(name="digits.Digits"),
    family=dict(
      net=dict(channels=8, multipliers=(1,), attention=()),
      uncertainty=dict(width=8),
      optimizer=dict(warmup=0),
    ),
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
        name="continuous_consistency.ContinuousConsistency",
        net=dict(name="unet.UNet", patch=2, channels=32, multipliers=(1, 2), blocks=1, attention=(1,)),
        path="gaussian.cosine",
        prediction="prediction.v",
        teacher=None if variant == "smoke" else _RUN,
        start=None if variant == "smoke" else _RUN,
        warmup=700,
        clip=True,
        ema_decay=0.999,
        optimizer=dict(lr=1e-3, warmup=200, schedule="cosine", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=64, sample_every=_STEPS // 4),
      evaluate=dict(features="features.mnist"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
