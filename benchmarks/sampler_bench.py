"""What a sampler costs beyond its network: 11 evaluations of the U-Net of `unet_bench.py` at 32x32x3.

The peer is the network alone, called as often, one call feeding the next, in one compiled loop. Each sampler is timed
in turn with it, and the one that adds the most is shown. A guided sampler makes one call for both halves of an
evaluation: its peer takes batches of twice the size, as often.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from benchmarks.timing import Row, compare
from gen_jax.families.diffusion import Diffusion
from gen_jax.family import entries
from gen_jax.nets.unet import UNet
from gen_jax.processes import gaussian, guidance, prediction
from gen_jax.run import compile as compiling
from gen_jax.solvers import adams, deis, edm, grids, semilinear
from gen_jax.solvers.base import Solver
from gen_jax.types import Spec

_SPEC = Spec(shape=(32, 32, 3), kind="image", classes=10, levels=256)
_BATCH, _EVALUATIONS = 8, 11
_SOLVERS = {
  "DDIM": semilinear.ddim(),
  "ancestral": semilinear.ancestral,
  "DPM-Solver++(2M)": semilinear.dpmpp_2m,
  "DPM-Solver++(3M)": semilinear.dpmpp_3m,
  "UniPC": adams.unipc(),
  "DEIS": deis.deis(),
  "EDM's Heun": edm.heun,
}


def rows(name: str) -> Iterator[Row]:
  """Yields the rows whose name has `name` in it."""
  worst = f"U-Net, {_EVALUATIONS} evaluations, batch {_BATCH}: the slowest of {len(_SOLVERS)} samplers"
  if name in worst:
    timed = [_row(f"{worst}, {k}", _BATCH, solver=solver) for k, solver in _SOLVERS.items()]
    yield min(timed, key=lambda row: row.ratio)
  guided = f"U-Net, {_EVALUATIONS} guided evaluations, batch {_BATCH}"
  if name in guided:
    twice = dict(conditions=("label",), cond_dropout=0.1, guidance=guidance.classifier_free(2.0))
    yield _row(guided, 2 * _BATCH, solver=semilinear.ddim(), **twice)


def _row(name: str, size: int, solver: Solver, **fields) -> Row:
  """The sampler beside its network with batches of this size."""
  family = Diffusion(
    spec=_SPEC,
    net=UNet(channels=64, multipliers=(1, 2, 2), blocks=2, attention=(1,), heads=4),
    path=gaussian.linear(),
    prediction=prediction.eps(),
    solver=solver,
    grid=grids.linear(),
    steps=(_EVALUATIONS - 1) // solver.evaluations,
    ema_decay=None,
    **fields,
  )
  if family.evaluations * _BATCH != _EVALUATIONS * size:
    raise AssertionError(f"{name}: {family.evaluations} evaluations of {_BATCH} are not {_EVALUATIONS} of {size}")
  net, key = family.net.clone(conditions=entries(_SPEC, family.conditions)), jax.random.key(0)
  cond = {"label": jnp.arange(_BATCH)} if family.conditions else None
  params = jax.jit(family.init)(key, {"x": jnp.zeros((1, *_SPEC.shape)), "label": jnp.zeros(1, jnp.int32)}).params
  sample = compiling.jit(family.sample, static_argnums=2)

  @compiling.jit
  def alone(params, x):
    call = lambda x, t: (net.apply(params, x, jnp.broadcast_to(t, size)), None)
    return jax.lax.scan(call, x, jnp.linspace(2.0, -2.0, _EVALUATIONS))[0]

  noise = jax.random.normal(key, (size, *_SPEC.shape))
  peer = functools.partial(alone, params, noise)
  return compare(name, functools.partial(sample, key, params, _BATCH, cond), "the network alone", peer)
