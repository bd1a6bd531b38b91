"""Diffusion on scenes of MNIST digits, 32x32, from a condition, scored by whether a reader finds what it asks for.

  python launch.py --config=configs/diffusion_scenes.py --workdir=runs/diffusion_scenes
  python launch.py --mode=sample --workdir=runs/diffusion_scenes --cond="caption=a three left of a seven"

The default condition is a caption, "a three left of a seven", read by a transformer of bytes that is trained with
it. `digits_found` is the share of the digits asked for that the reader finds at their place, `scenes_right` that of the
scenes in which it finds all; real scenes have 99% and 98%. Sized for a GPU: on an H100 that was shared with other runs,
seed 0, n = 1,000, 98% and 97% after 5.3 minutes of steps. Captions are learned late: after 5,000 steps of 64, a
sixth of the examples, 48% and 36%.

Variants:
  class: the class, of one digit, and trained for 5,000 steps of 64: 84% found; 28 CPU minutes of an AMD EPYC.
  layout: the box and the class of each digit, in as many steps: 96%.
  map, superresolution, edges, inpainting, colorization: an image, in 3,000 steps of 64, 16 to 19 CPU minutes. The
    class of each pixel: 97%; the scene at 8x8: 62%; its edges: 97%; one half of it, where nobody can know the other:
    54%; the grey scene, of one with each digit in a hue of its own: 99%.
  dit: the caption, with a diffusion transformer; not measured.
  guide: the model of the caption, worse: fewer channels, trained for a tenth of the steps.
  autoguided: guided away from the run in runs/diffusion_scenes_guide, of the variant `guide`, which has to be there;
    for a run that is trained: --mode=eval --config=configs/diffusion_scenes.py:autoguided --workdir=...
  smoke: a transformer with two conditions at once, in a test of a few steps.
"""

import ml_collections

_LONGER = 15_000
_STEPS = 5000
_FEWER = 3000
_SIMPLE = ("layout", "map", "superresolution", "edges", "inpainting", "colorization")
_UNET = dict(name="unet.UNet", patch=2, channels=32, multipliers=(1, 2), blocks=2, attention=(1,))
_DIT = dict(name="dit.DiT", patch=4, width=192, depth=6, heads=3)


def _on(*conditions, steps=_STEPS, **data):
  family = dict(conditions=conditions, optimizer=dict(decay_steps=steps))
  return dict(data=data, family=family, train=dict(steps=steps, batch_size=64))


VARIANTS = {
  "class": _on("label", single=1.0),
  "layout": _on("boxes"),
  "map": _on("map", steps=_FEWER),
  "superresolution": _on("small", steps=_FEWER),
  "edges": _on("edges", steps=_FEWER),
  "inpainting": _on("masked", steps=_FEWER),
  "colorization": _on("grey", steps=_FEWER, colour=True),
  "guide": dict(
    family=dict(net=dict(channels=16), optimizer=dict(decay_steps=_LONGER // 10)), train=dict(steps=_LONGER // 10)
  ),
  "autoguided": dict(
    family=dict(
      guidance=dict(name="guidance.Auto", guide=dict(name="load.load", workdir="runs/diffusion_scenes_guide"))
    )
  ),
  "dit": dict(family=dict(optimizer=dict(lr=4e-4))),
  "smoke": dict(
    data=dict(digits="digits.Digits", shrink=1, height=16, width=16, num_train=64, num_test=32),
    family=dict(
      net=dict(width=16, depth=1, heads=2, text_depth=1),
      steps=2,
      conditions=("caption", "small"),
      cond_dropout=0.5,
      optimizer=dict(warmup=0),
    ),
    train=dict(steps=4, batch_size=16, num_samples=16),
    evaluate=dict(num=32),
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=dict(name="digit_scenes.DigitScenes"),
      family=dict(
        name="diffusion.Diffusion",
        net=_DIT if variant in ("dit", "smoke") else _UNET,
        conditions=("caption",),
        cond_dropout=0.1,
        # a class alone is learned where there is little but noise, which counts for little where eps has unit weight
        weight="weighting.simple" if variant in _SIMPLE else dict(name="weighting.edm", sigma_data=1.0),
        guidance=dict(weight=2.0),
        solver="semilinear.dpmpp_2m",
        grid="grids.log_snr",
        steps=15,
        clip=True,
        ema_decay=0.999,
        optimizer=dict(lr=1e-3, warmup=200, schedule="cosine", decay_steps=_LONGER, clip=1.0),
      ),
      train=dict(steps=_LONGER, batch_size=128),
      evaluate=dict(num=1000, likelihood_num=0, judge="scenes.Reader"),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
