"""Consistency models on scikit-learn's handwritten digits, 8x8: one network evaluation a sample.

  python launch.py --config=configs/consistency_digits.py --workdir=runs/consistency_digits

Improved consistency training, from scratch. "The run" of a variant is that in runs/diffusion_digits, which
configs/diffusion_digits.py makes. 4.5 CPU minutes of an Intel Xeon (AVX-512), seed 0; Frechet distance 1.27
(floor 0.146, digits features, n = 1,442); `:distillation` 6.5 minutes and 0.556, `:tuning` 4.4 minutes and 0.915;
of an AMD EPYC, `:adversarial` 6.6 minutes and 0.415, `:original` 2.2 and 6.47, `:conditional` 8.6 and 0.559.

Variants:
  original: consistency training as first published, but for its 150 levels, of which there are 20: the target is a
    moving average, and levels grow with the steps.
  distillation: consistency distillation of the run, a step of Heun's method at a time.
  adversarial: the same, and a discriminator.
  coloured: distillation of coloured digits, the run in runs/diffusion_digits_coloured; Frechet distance of pixels 2.85
    (floor 1.67).
  perceptual: distillation by the distance of a classifier's activations; its features would be no fair judge any more.
  conditional: distillation of a class-conditional run and its guidance, that in runs/diffusion_digits_conditional.
  tuning: easy consistency tuning, from the parameters of the run.
  two: two evaluations a sample.
  smoke: a test of a few steps.
"""

import ml_collections

_STEPS = 1600
_RUN = dict(name="load.load", workdir="runs/diffusion_digits")
_TOLD = dict(name="load.load", workdir="runs/diffusion_digits_conditional")
_COLOURED = dict(name="load.load", workdir="runs/diffusion_digits_coloured")
_DISTILLATION = dict(teacher=_RUN, start=_RUN, weight="neighbours.unit", target_decay=0.95)
_NEIGHBOURS = {
  None: dict(name="neighbours.doubling", total=_STEPS),
  # 150 levels, as published, teach nothing in so few steps
  "original": dict(name="neighbours.growing", total=_STEPS, last=20),
  "distillation": dict(name="neighbours.levels", num=18),
  "perceptual": dict(name="neighbours.levels", num=18),
  "conditional": dict(name="neighbours.levels", num=18),
  "coloured": dict(name="neighbours.levels", num=18),
  "adversarial": dict(name="neighbours.levels", num=18),
  "tuning": dict(name="neighbours.tuning", total=_STEPS),
}
_ADVERSARY = dict(
  name="adversary.Adversary",
  net=dict(name="dcgan.Discriminator", channels=(32, 64)),
  r1=0.1,
  optimizer=dict(lr=1e-3, b1=0.0, schedule="linear", decay_steps=_STEPS),
)
VARIANTS = {
  "original": dict(
    family=dict(
      weight="neighbours.unit",
      distance=dict(name="distances.l2"),
      target_decay=0.9,
    )
  ),
  "distillation": dict(family=_DISTILLATION),
  "conditional": dict(family=dict(_DISTILLATION, teacher=_TOLD, start=_TOLD, conditions=("label",))),
  "coloured": dict(
    data=dict(
      name="digit_scenes.DigitScenes",
      digits=dict(name="digits.Digits"),
      shrink=1,
      height=8,
      width=16,
      single=1.0,
      colour=True,
    ),
    family=dict(_DISTILLATION, teacher=_COLOURED, start=_COLOURED),
    evaluate=dict(features="features.identity"),
  ),
  "perceptual": dict(
    family=dict(**_DISTILLATION, distance=dict(name="distances.Perceptual", features="activations.digits")),
    evaluate=dict(features="features.identity"),
  ),
  "adversarial": dict(family=dict(**_DISTILLATION, adversary=_ADVERSARY)),
  "tuning": dict(family=dict(start=_RUN)),
  "two": dict(family=dict(steps=2)),
  "smoke": dict(
    family=dict(
      net=dict(channels=8, multipliers=(1,), attention=()),
      steps=2,
      target_decay=0.5,
      adversary=dict(_ADVERSARY, net=dict(name="dcgan.Discriminator", channels=(4, 8)), r1_every=2),
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
        name="consistency.Consistency",
        net=dict(name="unet.UNet", channels=32, multipliers=(1, 2), blocks=1, attention=(1,)),
        path="gaussian.cosine",
        prediction="prediction.v",
        neighbours=_NEIGHBOURS[variant if variant in _NEIGHBOURS else None],
        weight="neighbours.inverse",
        distance=dict(name="distances.pseudo_huber"),
        target_decay=0.0,
        teacher=None,
        start=None,
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
