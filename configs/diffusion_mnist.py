"""Diffusion on MNIST, 28x28, sampled with 32 network evaluations.

  python launch.py --config=configs/diffusion_mnist.py --workdir=runs/diffusion_mnist

50 CPU minutes of an Intel Xeon (AVX-512), seed 0; Frechet distance 0.449 (floor 0.095, mnist features,
n = 2,000); of an AMD EPYC, `:conditional` 18 minutes and 0.790.

Variants:
  conditional: class-conditional, with classifier-free guidance of weight 2 (32 evaluations, two per step).
  guide: half the channels, trained for an eighth of the steps: a worse model of the same data.
  autoguided: guided away from the run in runs/diffusion_mnist_guide, of the variant `guide`, which has to be there;
    for a run that is trained: --mode=eval --config=configs/diffusion_mnist.py:autoguided --workdir=runs/diffusion_mnist
    Frechet distance 0.221 with --config.family.guidance.weight=1.5, 0.388 with 2, of a network from an H100.
  smoke: a test of a few steps.
"""

import ml_collections

_STEPS = 8000
_FEWER = 2500  # a label is most of what there is to learn
VARIANTS = {
  "conditional": dict(
    family=dict(
      conditions=("label",),
      cond_dropout=0.1,
      guidance=dict(weight=2.0),
      solver="semilinear.dpmpp_2m",
      grid="grids.log_snr",
      steps=15,
      optimizer=dict(decay_steps=_FEWER),
    ),
    train=dict(steps=_FEWER),
  ),
  "guide": dict(
    family=dict(net=dict(channels=16), optimizer=dict(decay_steps=_STEPS // 8)), train=dict(steps=_STEPS // 8)
  ),
  "autoguided": dict(
    family=dict(guidance=dict(name="guidance.Auto", guide=dict(name="load.load", workdir="runs/diffusion_mnist_guide")))
  ),
  "smoke": dict(
    data=dict(name="digits.Digits"),
    family=dict(net=dict(channels=8), steps=3, optimizer=dict(warmup=0)),
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
        name="diffusion.Diffusion",
        net=dict(name="unet.UNet", patch=2, channels=32, multipliers=(1, 2), blocks=1, attention=(1,)),
        solver="semilinear.ancestral",  # fresh noise at every step makes up for errors of the network
        grid="grids.linear",
        clip=True,
        ema_decay=0.999,
        optimizer=dict(lr=1e-3, warmup=200, schedule="cosine", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=64),
      evaluate=dict(features="features.mnist"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
