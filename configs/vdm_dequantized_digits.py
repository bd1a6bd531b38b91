"""A variational diffusion model of dequantized 8x8 digits: bound and dequantizer are trained together.

  python launch.py --config=configs/vdm_dequantized_digits.py --workdir=runs/vdm_dequantized_digits

The same data, network and schedule as configs/vdm_digits.py, which gives each level its mass and needs no dequantizer:
the three bounds can be compared. 5.5 CPU minutes of an AMD EPYC (AVX-512), seed 0; at most 2.03 bits/dim, Frechet
distance 0.361 (floor 0.146, digits features, n = 1,442); `:uniform` 4.9 minutes, 2.13 and 0.386. With
--mode=eval --config.family.likelihood=bounds.Dequantized, by the probability flow, 1.84 and 1.91 bits/dim.

Variants:
  uniform: with uniform noise instead.
  smoke: a test of a few steps.
"""

import ml_collections

_STEPS = 1600
VARIANTS = {
  "uniform": dict(family=dict(dequantizer=dict(name="dequantizer.Uniform"))),
  "smoke": dict(
    family=dict(
      net=dict(channels=8, multipliers=(1,), attention=()),
      dequantizer=dict(net=dict(channels=8)),
      steps=3,
      optimizer=dict(warmup=0),
    ),
    train=dict(steps=4, batch_size=16, num_samples=16),
    evaluate=dict(num=64, likelihood_num=64),
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=dict(name="digits.Digits"),
      family=dict(
        name="vdm.VDM",
        net=dict(name="unet.UNet", channels=32, multipliers=(1, 2), blocks=1, attention=(1,)),
        path=dict(name="learned.Monotone", gamma_min=-8.0, gamma_max=6.0),
        dequantizer=dict(name="dequantizer.Variational"),
        solver="semilinear.ancestral",
        steps=64,
        ema_decay=0.995,
        optimizer=dict(lr=2e-3, warmup=100, schedule="cosine", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=64),
      evaluate=dict(features="features.digits", importance=1),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
