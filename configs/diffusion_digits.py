"""Diffusion on scikit-learn's handwritten digits, 8x8: what `make demo` runs.

  python launch.py --config=configs/diffusion_digits.py --workdir=runs/diffusion_digits

4.3 CPU minutes of an Intel Xeon (AVX-512), seed 0; Frechet distance 0.326 (floor 0.146,
digits features, n = 1,442).

Variants:
  conditional: class-conditional, with classifier-free guidance of weight 2; Frechet distance 0.625, label accuracy
    100%.
  coloured: each digit in a hue of its own, somewhere on a canvas of 8x16: for the editing notebook;
    Frechet distance of pixels 2.27 (floor 1.67).
  dit: a transformer, of a token for each pixel, in place of the U-Net; Frechet distance 1.79.
  edm2: the layers of EDM2 in a network of that size; Frechet distance 0.369.
  smoke: a test of a few steps.
"""

import ml_collections

_STEPS = 1600
_UNET = dict(name="unet.UNet", channels=32, multipliers=(1, 2), blocks=1, attention=(1,))
_DIT = dict(name="dit.DiT", patch=1, width=128, depth=4, heads=4)
VARIANTS = {
  "conditional": dict(family=dict(conditions=("label",), cond_dropout=0.1, guidance=dict(weight=2.0), steps=15)),
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
    evaluate=dict(features="features.identity"),
  ),
  "dit": dict(family=dict(optimizer=dict(lr=1e-3))),
  "edm2": dict(
    family=dict(
      net=dict(name="edm2.UNet", channels=32, multipliers=(1, 2), blocks=1, attention=(1,), head_channels=16),
      optimizer=dict(lr=1e-2, b2=0.99, unit=("direction",)),
    )
  ),
  "smoke": dict(
    family=dict(
      net=dict(channels=8),
      steps=3,
      conditions=("label",),
      cond_dropout=0.5,
      guidance=dict(weight=2.0),
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
        name="diffusion.Diffusion",
        net=_DIT if variant == "dit" else _UNET,
        solver="semilinear.ancestral",  # fresh noise at every step makes up for errors of the network
        grid="grids.linear",
        clip=True,
        ema_decay=0.995,
        optimizer=dict(lr=2e-3, warmup=100, schedule="cosine", decay_steps=_STEPS, clip=1.0),
      ),
      train=dict(steps=_STEPS, batch_size=64),
      evaluate=dict(features="features.digits"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
