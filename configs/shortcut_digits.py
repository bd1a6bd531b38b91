"""Shortcut models on scikit-learn's handwritten digits, 8x8: one network for any number of steps.

  python launch.py --config=configs/shortcut_digits.py --workdir=runs/shortcut_digits

2.2 CPU minutes of an AMD EPYC (AVX-512), seed 0; Frechet distance 2.10 with one evaluation, 0.713 with four
(floor 0.146, digits features, n = 1,442).

Variants:
  smoke: a test of a few steps.
"""

import ml_collections

_STEPS = 1600
VARIANTS = {
  "smoke": dict(
    family=dict(net=dict(channels=8, multipliers=(1,), attention=()), steps=2, optimizer=dict(warmup=0)),
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
        name="shortcut.Shortcut",
        net=dict(name="unet.UNet", channels=32, multipliers=(1, 2), blocks=1, attention=(1,)),
        steps=1,
        clip=True,
        ema_decay=0.995,
        optimizer=dict(lr=2e-3, warmup=100, schedule="cosine", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=64, sample_every=_STEPS // 4),
      evaluate=dict(features="features.digits"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
