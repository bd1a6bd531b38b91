"""Mean flow on MNIST, 28x28: one network for any number of steps.

  python launch.py --config=configs/mean_flow_mnist.py --workdir=runs/mean_flow_mnist

11 CPU minutes of an AMD EPYC (AVX-512), seed 0; Frechet distance 7.14 with one evaluation, 2.68 with two, 1.98 with
four (floor 0.095, mnist features, n = 2,000).

Variants:
  longer: 6,000 steps of batch 256, on a GPU: 3.3 minutes of an H100 that was shared; 4.10, 1.64 and 0.945.
  smoke: a test of a few steps.
"""

import ml_collections

_STEPS = 2800
_LONGER = 6000
VARIANTS = {
  "longer": dict(family=dict(optimizer=dict(decay_steps=_LONGER)), train=dict(steps=_LONGER, batch_size=256)),
  "smoke": dict(
    data=dict(name="digits.Digits"),
    family=dict(net=dict(channels=8, multipliers=(1,), attention=()), steps=2, optimizer=dict(warmup=0)),
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
        name="mean_flow.MeanFlow",
        net=dict(name="unet.UNet", patch=2, channels=32, multipliers=(1, 2), blocks=1, attention=(1,)),
        mean=0.0,  # times twice as far apart as the paper's: better with one evaluation, on digits
        std=2.0,
        steps=1,
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
