"""Distribution matching distillation on scikit-learn's handwritten digits, 8x8: one network evaluation a sample.

  python launch.py --config=configs/distribution_matching_digits.py --workdir=runs/distribution_matching_digits

Distils the run in runs/diffusion_digits, which configs/diffusion_digits.py makes. 4.2 CPU minutes of an AMD EPYC, seed
0; Frechet distance 0.350 (floor 0.146, digits features, n = 1,442); `:adversarial` 4.5 minutes and 0.325.

Variants:
  adversarial: and a discriminator.
  conditional: of a class-conditional run and its guidance, that in runs/diffusion_digits_conditional.
  four: four evaluations a sample; Frechet distance 0.620.
  smoke: a test of a few steps, with an untrained teacher.
"""

import ml_collections

_STEPS = 1600
_RUN = dict(name="load.load", workdir="runs/diffusion_digits")
_UNTRAINED = dict(name="load.untrained", config="configs/diffusion_digits.py:smoke")
_TEACHERS = {
  **dict.fromkeys((None, "adversarial", "four"), _RUN),
  "conditional": dict(name="load.load", workdir="runs/diffusion_digits_conditional"),
  "smoke": _UNTRAINED,
}
_ADVERSARY = dict(
  name="adversary.Adversary",
  net=dict(name="dcgan.Discriminator", channels=(32, 64)),
  r1=0.1,
  optimizer=dict(lr=1e-3, b1=0.0, schedule="linear", decay_steps=_STEPS),
)
VARIANTS = {
  "adversarial": dict(family=dict(adversary=_ADVERSARY)),
  "conditional": dict(family=dict(conditions=("label",))),
  "four": dict(family=dict(steps=4)),
  "smoke": dict(
    family=dict(
      net=dict(channels=8),
      conditions=("label",),
      steps=2,
      adversary=dict(_ADVERSARY, net=dict(name="dcgan.Discriminator", channels=(4, 8))),
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
        name="distribution_matching.DistributionMatching",
        net=dict(name="unet.UNet", channels=32, multipliers=(1, 2), blocks=1, attention=(1,)),
        teacher=_TEACHERS[variant],
        conditions=(),
        clip=True,
        ema_decay=0.995,
        # slower than the critic, and without momentum, for it to follow
        optimizer=dict(lr=2e-4, b1=0.0, schedule="linear", decay_steps=_STEPS, clip=1.0),
        critic_optimizer=dict(lr=1e-3, b1=0.0, schedule="linear", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=64, sample_every=_STEPS // 4),
      evaluate=dict(features="features.digits"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
