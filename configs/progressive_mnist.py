"""Progressive distillation on MNIST, 28x28: from 32 steps to one.

  python launch.py --config=configs/progressive_mnist.py --workdir=runs/progressive_mnist

Distils the run in runs/diffusion_mnist, which configs/diffusion_mnist.py makes, in five rounds.
13 CPU minutes of an AMD EPYC (AVX-512), seed 0; Frechet distance 2.67 (floor 0.095, mnist features, n = 2,000).

Variants:
  two: four rounds, to two steps; 1.73.
  four: three rounds, to four steps; 1.23.
  smoke: a test of a few steps, with an untrained teacher.
"""

import ml_collections

_ROUND = 560
_UNTRAINED = dict(name="load.untrained", config="configs/diffusion_mnist.py:smoke")


def _rounds(rounds, to):
  steps = rounds * _ROUND
  return dict(family=dict(steps=to, rounds=rounds, optimizer=dict(decay_steps=steps)), train=dict(steps=steps))


VARIANTS = {
  "two": _rounds(4, to=2),
  "four": _rounds(3, to=4),
  "smoke": dict(
    data=dict(name="digits.Digits"),
    family=dict(
      net=dict(channels=8),
      rounds=2,
      round_steps=2,
      probes=2,
      optimizer=dict(warmup=0),
    ),
    train=dict(steps=4, batch_size=16, num_samples=20),
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
        name="progressive.Progressive",
        net=dict(name="unet.UNet", patch=2, channels=32, multipliers=(1, 2), blocks=1, attention=(1,)),
        teacher=_UNTRAINED if variant == "smoke" else dict(name="load.load", workdir="runs/diffusion_mnist"),
        steps=1,
        rounds=5,
        round_steps=_ROUND,
        conditions=(),
        clip=True,
        ema_decay=0.99,
        optimizer=dict(lr=1e-3, warmup=200, schedule="cosine", decay_steps=5 * _ROUND, clip=1.0),
      ),
      train=dict(steps=5 * _ROUND, batch_size=64, sample_every=_ROUND),
      evaluate=dict(features="features.mnist"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
