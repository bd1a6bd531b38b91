"""Distribution matching distillation on MNIST, 28x28: one network evaluation a sample.

  python launch.py --config=configs/diffusion_mnist.py --workdir=runs/diffusion_mnist
  python launch.py --config=configs/distribution_matching_mnist.py --workdir=runs/distribution_matching_mnist

Distils the first run. 28 CPU minutes of an AMD EPYC, seed 0; Frechet distance 0.937 with one evaluation (floor 0.095,
mnist features, n = 2,000); the teacher has 0.648 with 35.

Variants:
  guided: the teacher is guided away from the run in runs/diffusion_mnist_guide, as by `diffusion_mnist:autoguided`,
    which has to be there as well. 35 CPU minutes, 0.676.
  continued: the generator starts from the run in runs/consistency_mnist, of consistency_mnist.py. 29 CPU minutes after
    those of that run, 0.715.
  smoke: a test of a few steps, with an untrained teacher.
"""

import ml_collections

_STEPS = 4000
_RUN = dict(name="load.load", workdir="runs/diffusion_mnist")
_GUIDED = (
  ("family.guidance.name", "guidance.Auto"),
  ("family.guidance.weight", "1.5"),
  ("family.guidance.guide.name", "load.load"),
  ("family.guidance.guide.workdir", "runs/diffusion_mnist_guide"),
)
_TEACHERS = {
  **dict.fromkeys((None, "continued"), _RUN),
  "guided": dict(**_RUN, overrides=_GUIDED),
  "smoke": dict(name="load.untrained", config="configs/diffusion_mnist.py:smoke"),
}
VARIANTS = {
  "guided": dict(),
  "continued": dict(family=dict(start=dict(name="load.load", workdir="runs/consistency_mnist"))),
  "smoke": dict(
    data=dict(name="digits.Digits"),
    family=dict(net=dict(channels=8)),
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
        name="distribution_matching.DistributionMatching",
        net=dict(name="unet.UNet", patch=2, channels=32, multipliers=(1, 2), blocks=1, attention=(1,)),
        teacher=_TEACHERS[variant],
        start=None,
        clip=True,
        ema_decay=0.999,
        # slower than the critic, and without momentum, for it to follow
        optimizer=dict(lr=1e-4, b1=0.0, schedule="linear", decay_steps=_STEPS, clip=1.0),
        critic_optimizer=dict(lr=1e-3, b1=0.0, schedule="linear", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=64, sample_every=_STEPS // 4),
      evaluate=dict(features="features.mnist"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
