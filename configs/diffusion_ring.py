"""Diffusion on a ring of eight Gaussians in the plane.

  python launch.py --config=configs/diffusion_ring.py --workdir=runs/diffusion_ring

Variants:
  ancestral: DDPM as published: noise prediction, linear schedule, many stochastic steps.
  edm: EDM as published: preconditioning, log-normal noise levels, Heun's method.
  smoke: a test of a few steps.
"""

import ml_collections

VARIANTS = {
  "ancestral": dict(
    family=dict(
      path="gaussian.linear",
      prediction="prediction.eps",
      solver="semilinear.ancestral",
      grid="grids.linear",
      steps=255,
    ),
  ),
  "edm": dict(
    family=dict(
      path="gaussian.edm",
      prediction="prediction.edm",
      times="times.lognormal",
      weight="weighting.edm",
      solver="edm.heun",
      grid="grids.rho",
      steps=17,
    ),
  ),
  "smoke": dict(
    family=dict(net=dict(width=16, depth=1), steps=32),  # enough for samples that follow `log_prob`
    train=dict(steps=4, batch_size=16, num_samples=16),
    evaluate=dict(num=64),
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=dict(name="synthetic.Ring"),
      family=dict(name="diffusion.Diffusion", net=dict(name="mlp.TimeMLP")),
      train=dict(steps=5000, batch_size=256),
      evaluate=dict(),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
