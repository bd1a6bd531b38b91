"""Consistency distillation in continuous time (sCD) on scikit-learn's handwritten digits, 8x8.

  python launch.py --config=configs/continuous_consistency_digits.py --workdir=runs/continuous_consistency_digits

Distils the run in runs/diffusion_digits, which configs/diffusion_digits.py makes, and starts from its parameters.
6.4 CPU minutes of an Intel Xeon (AVX-512), seed 0; Frechet distance 1.12, and on an AMD EPYC 1.78 (floor 0.146, digits
features, n = 1,442).

Variants:
  training: without a teacher, from random parameters (sCT).
  smoke: a test of a few steps, without a teacher.
"""

import ml_collections

_STEPS = 1600
_RUN = dict(name="load.load", workdir="runs/diffusion_digits")
VARIANTS = {
  "training": dict(),
  "smoke": dict(
    family=dict(
      net=dict(channels=8, multipliers=(1,), attention=()),
      uncertainty=dict(width=8),
      optimizer=dict(warmup=0),
    ),
    train=dict(steps=4, batch_size=16, num_samples=16),
    evaluate=dict(num=64),
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=dict(name="digits.Digits"),
      family=dict(
        name="continuous_consistency.ContinuousConsistency",
        net=dict(name="unet.UNet", channels=32, multipliers=(1, 2), blocks=1, attention=(1,)),
        path="gaussian.cosine",
        prediction="prediction.v",
        teacher=None if variant else _RUN,
        start=None if variant else _RUN,
        warmup=400,
        clip=True,
        ema_decay=0.995,
        optimizer=dict(lr=1e-3, warmup=100, schedule="cosine", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=64, sample_every=_STEPS // 4),
      evaluate=dict(features="features.digits"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
