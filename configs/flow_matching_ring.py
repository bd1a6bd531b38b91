"""Flow matching on a ring of eight Gaussians in the plane.

  python launch.py --config=configs/flow_matching_ring.py --workdir=runs/flow_matching_ring

Variants:
  optimal: noise is joined to the example of the batch that is near it: straighter paths, for fewer steps.
  reflow: straightens the flow of the run in runs/flow_matching_ring, which has to be there.
  interpolant: alpha = cos t, sigma = sin t, sampled with noise at every step.
  smoke: a test of a few steps.
"""

import ml_collections

VARIANTS = {
  "optimal": dict(family=dict(coupling="coupling.optimal", steps=4)),
  "reflow": dict(
    family=dict(teacher=dict(name="load.load", workdir="runs/flow_matching_ring"), grid="grids.trailing", steps=0)
  ),
  "interpolant": dict(family=dict(path="gaussian.trigonometric", solver="sde.euler_maruyama", steps=128)),
  "smoke": dict(
    family=dict(net=dict(width=16, depth=1), steps=3, flow=dict(steps=16)),
    train=dict(steps=4, batch_size=16, num_samples=16),
    evaluate=dict(num=64, likelihood_num=64),
  ),
}


def get_config(variant=None):
  """The config, or one of its variants."""
  config = ml_collections.ConfigDict(
    dict(
      seed=0,
      data=dict(name="synthetic.Ring"),
      family=dict(
        name="flow_matching.FlowMatching",
        net=dict(name="mlp.TimeMLP"),
        flow=dict(steps=64),
        coupling="coupling.independent",
        teacher=None,
      ),
      train=dict(steps=5000, batch_size=256),
      evaluate=dict(),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
