"""Progressive distillation on scikit-learn's handwritten digits, 8x8: from 32 steps to one.

  python launch.py --config=configs/progressive_digits.py --workdir=runs/progressive_digits

Distils the run in runs/diffusion_digits, which configs/diffusion_digits.py makes, in five rounds. 5.4 CPU minutes of an
Intel Xeon (AVX-512), seed 0; Frechet distance 0.624 (floor 0.146, digits features, n = 1,442).

Variants:
  two: four rounds, to two steps; 0.387.
  four: three rounds, to four steps; 0.313.
  smoke: a test of a few steps, with an untrained teacher.
"""

import ml_collections

_ROUND = 320
_UNTRAINED = dict(name="load.untrained", config="configs/diffusion_digits.py:smoke")


def _rounds(rounds, to):
  steps = rounds * _ROUND
  return dict(family=dict(steps=to, rounds=rounds, optimizer=dict(decay_steps=steps)), train=dict(steps=steps))


VARIANTS = {
  "two": _rounds(4, to=2),
  "four": _rounds(3, to=4),
  "smoke": dict(
    family=dict(
      net=dict(channels=8),
      rounds=2,
      round_steps=2,
      probes=2,
      conditions=("label",),
      optimizer=dict(warmup=0),
    ),
    train=dict(steps=4, batch_size=16, num_samples=20),
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
        name="progressive.Progressive",
        net=dict(name="unet.UNet", channels=32, multipliers=(1, 2), blocks=1, attention=(1,)),
        teacher=_UNTRAINED if variant == "smoke" else dict(name="load.load", workdir="runs/diffusion_digits"),
        steps=1,
        rounds=5,
        round_steps=_ROUND,
        conditions=(),
        clip=True,
        ema_decay=0.98,
        optimizer=dict(lr=1e-3, warmup=100, schedule="cosine", decay_steps=5 * _ROUND, clip=1.0),
      ),
      train=dict(steps=5 * _ROUND, batch_size=64, sample_every=_ROUND),
      evaluate=dict(features="features.digits"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
