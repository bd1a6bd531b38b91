"""GAN on a ring of eight Gaussians in the plane.

  python launch.py --config=configs/gan_ring.py --workdir=runs/gan_ring

Variants:
  smoke: a test of a few steps.
"""

import ml_collections

VARIANTS = {
  "smoke": dict(
    family=dict(latent=4, generator=dict(width=16, depth=1), adversary=dict(net=dict(width=16, depth=1))),
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
      family=dict(
        name="gan.GAN",
        generator=dict(name="mlp.MLP", width=128, depth=3),
        adversary=dict(net=dict(name="mlp.MLP", width=128, depth=3), r1=0.1, optimizer=dict(lr=1e-3, b1=0.0)),
        latent=8,
        optimizer=dict(lr=1e-3, b1=0.0),
      ),
      train=dict(steps=10_000, batch_size=256),
      evaluate=dict(),
    )
  )
  if variant:
    config.update(VARIANTS[variant])
  return config
