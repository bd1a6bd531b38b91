"""Consistency models on MNIST, 28x28: one network evaluation a sample.

  python launch.py --config=configs/diffusion_mnist.py --workdir=runs/diffusion_mnist
  python launch.py --config=configs/consistency_mnist.py --workdir=runs/consistency_mnist

Consistency distillation of the first run, a step of Heun's method at a time. 15 CPU minutes of an AMD EPYC
(AVX-512), seed 0; Frechet distance 2.28 with one evaluation (floor 0.095, mnist features, n = 2,000).

Variants:
  guided: longer, in larger batches, on a GPU; the teacher is guided away from the run in runs/diffusion_mnist_guide, as
    by `diffusion_mnist:autoguided`, which has to be there as well. In 6 minutes of an H100 that was shared: 0.844.
  conditional: of a class-conditional teacher and its guidance, the run in runs/diffusion_mnist_conditional. 42 CPU
    minutes of an AMD EPYC; Frechet distance 1.74 with one evaluation, 1.22 with four.
  tuning: easy consistency tuning from the parameters of the first run, without a teacher. 11 CPU minutes; 3.75.
  training: improved consistency training, from scratch. 10 CPU minutes of an AMD EPYC; Frechet distance 5.95.
  original: consistency training as first published, but for its 150 levels, of which there are 20, from scratch. 22 CPU
    minutes of an AMD EPYC; Frechet distance 20.0: it learns slowly.
  two: two evaluations a sample.
  smoke: a test of a few steps, from random parameters.
"""

import ml_collections

_STEPS = 2800
_LONGER = 12_000
_RUN = dict(name="load.load", workdir="runs/diffusion_mnist")
_GUIDED = (
  ("family.guidance.name", "guidance.Auto"),
  ("family.guidance.weight", "1.5"),
  ("family.guidance.guide.name", "load.load"),
  ("family.guidance.guide.workdir", "runs/diffusion_mnist_guide"),
)
_TOLD = dict(name="load.load", workdir="runs/diffusion_mnist_conditional")
_UNTRAINED = dict(name="load.untrained", config="configs/diffusion_mnist.py:smoke")
_TEACHERS = {
  **dict.fromkeys((None, "two"), _RUN),
  "guided": dict(**_RUN, overrides=_GUIDED),
  "conditional": _TOLD,
  **dict.fromkeys(("tuning", "training", "original")),
  "smoke": _UNTRAINED,
}
_STARTS = {
  **dict.fromkeys((None, "two", "guided", "tuning"), _RUN),
  "conditional": _TOLD,
  **dict.fromkeys(("training", "original")),
  "smoke": _UNTRAINED,
}
_NEIGHBOURS = {
  None: dict(name="neighbours.levels", num=18),
  "tuning": dict(name="neighbours.tuning", total=_STEPS),
  "training": dict(name="neighbours.doubling", total=_STEPS),
  "original": dict(name="neighbours.growing", total=_STEPS, last=20),
}
VARIANTS = {
  "guided": dict(
    family=dict(optimizer=dict(decay_steps=_LONGER)),
    train=dict(steps=_LONGER, batch_size=256),
  ),
  "conditional": dict(family=dict(conditions=("label",))),
  "tuning": dict(family=dict(weight="neighbours.inverse", target_decay=0.0)),
  "training": dict(family=dict(weight="neighbours.inverse", target_decay=0.0)),
  "original": dict(family=dict(distance="distances.l2", target_decay=0.9)),
  "two": dict(family=dict(steps=2)),
  "smoke": dict(
    data=dict(name="digits.Digits"),
    family=dict(net=dict(channels=8), probes=2, optimizer=dict(warmup=0)),
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
        weight="neighbours.unit",
        distance="distances.pseudo_huber",
        target_decay=0.95,
        teacher=_TEACHERS[variant],
        start=_STARTS[variant],
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
