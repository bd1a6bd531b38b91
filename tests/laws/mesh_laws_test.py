"""Every device does its share of the work, whatever is trained or scored."""

import pathlib
import types

import jax
import jax.numpy as jnp
import pytest

from gen_jax.data.feed import feed
from gen_jax.data.synthetic import Ring
from gen_jax.families.consistency import Consistency
from gen_jax.families.diffusion import Diffusion
from gen_jax.families.distribution_matching import DistributionMatching
from gen_jax.families.flow_matching import FlowMatching
from gen_jax.families.gan import GAN
from gen_jax.families.vae import VAE
from gen_jax.families.vdm import VDM
from gen_jax.nets.mlp import TimeMLP
from gen_jax.processes import gaussian
from gen_jax.run import checkpoint, loop, train
from gen_jax.run import mesh as meshes
from gen_jax.solvers import ode

pytestmark = pytest.mark.usefixtures("on_cpu")  # there can be as many of them as one likes

SOURCE = Ring(num_train=256, num_test=10)
COMMON = dict(spec=SOURCE.spec, net=TimeMLP(width=32, depth=1))


def _trained(family):
  params = jax.jit(family.init)(jax.random.key(0), {"x": jnp.zeros((4, 2))}).params
  return types.SimpleNamespace(family=family, params=jax.device_put(params, jax.devices()[0]))  # as `load` does


TRAINED = {
  "a GAN of four turns": lambda: GAN(spec=SOURCE.spec, turns=4),
  "distribution matching": lambda: DistributionMatching(**COMMON, teacher=_trained(Diffusion(**COMMON))),
  "a student of a learned path": lambda: Consistency(
    **COMMON, path=gaussian.cosine(t_min=0.05, t_max=0.95), teacher=_trained(VDM(**COMMON))
  ),
  "reflow": lambda: FlowMatching(
    **COMMON, teacher=_trained(FlowMatching(**COMMON, solver=ode.euler)), pairs=64, probes=0
  ),
}


def _step_flops(family, num):
  """FLOPs of a training step on each of `num` devices."""
  mesh = jax.make_mesh((num,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:num])
  options = train.Train(steps=1, batch_size=128, steps_per_dispatch=1)
  data = feed(SOURCE, seed=0, batch_size=128, sharding=meshes.rows(mesh))
  saves = checkpoint.Checkpoints(pathlib.Path("nowhere"), None)
  run = loop.Loop(family=family, feed=data, options=options, seed=0, mesh=mesh, checkpoints=saves)
  return run.program().compile().cost_analysis()["flops"]


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_step_is_divided(name):
  """Also where it looks at nothing of a batch but its size; what is left is the optimizer's, which all do."""
  family = TRAINED[name]()
  assert _step_flops(family, 4) / _step_flops(family, 1) < 0.33


DIFFUSION, AUTOENCODER = Diffusion(**COMMON), VAE(spec=SOURCE.spec)
SCORED = {
  "samples": (DIFFUSION, lambda key, params, x: DIFFUSION.sample(key, params, len(x))),
  "likelihood": (DIFFUSION, DIFFUSION.log_prob),
  "bound": (AUTOENCODER, AUTOENCODER.log_prob_bound),
  "through codes": (
    AUTOENCODER,
    lambda key, params, x: AUTOENCODER.decode(key, params, AUTOENCODER.encode(key, params, x)),
  ),
}


@pytest.mark.parametrize("name", SCORED)
def test_what_is_scored_is_divided(name):
  """Also where the number of devices does not divide that of the examples: 63 of 250 are 0.252."""
  family, fn = SCORED[name]
  key, x = jax.random.key(0), jnp.ones((250, 2))
  args = key, jax.jit(family.init)(key, {"x": x[:4]}).params, x
  flops = lambda jitted, args: jitted.lower(*args).compile().cost_analysis()["flops"]
  assert flops(meshes.divided(fn), meshes.everywhere(args)) / flops(jax.jit(fn), args) < 0.28
