"""What a sampler costs beyond its network: 11 evaluations of the U-Net of `unet_bench.py` at 32x32x3.

The peer is the network alone, called as often, one call feeding the next, in one compiled loop. Each sampler is timed
in turn with it, and the one that adds the most is shown. The noise of a machine can hide a few percent: so what each
fixed-step solver of the project does beside its calls is also timed where a call costs nothing, and the one that does
the most is shown beside the network. A guided sampler makes one call for both halves of an evaluation: its peer takes
batches of twice the size, as often.
"""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import statistics
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from benchmarks.timing import Row, Work, compare, seconds
from gen_jax import solvers
from gen_jax.families.diffusion import Diffusion
from gen_jax.family import entries
from gen_jax.nets.unet import UNet
from gen_jax.processes import gaussian, guidance, prediction
from gen_jax.run import compile as compiling
from gen_jax.solvers import adams, deis, edm, grids, semilinear
from gen_jax.solvers.base import Solver, integrate
from gen_jax.types import PyTree, Spec

_SPEC = Spec(shape=(32, 32, 3), kind="image", classes=10, levels=256)
_BATCH, _EVALUATIONS = 8, 11
_NET = UNet(channels=64, multipliers=(1, 2, 2), blocks=2, attention=(1,), heads=4)
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
  beside = f"{_EVALUATIONS} evaluations, batch {_BATCH}: the most that a solver does beside them"
  if name in beside:
    yield _beside(beside)
  guided = f"U-Net, {_EVALUATIONS} guided evaluations, batch {_BATCH}"
  if name in guided:
    twice = dict(conditions=("label",), cond_dropout=0.1, guidance=guidance.classifier_free(2.0))
    yield _row(guided, 2 * _BATCH, solver=semilinear.ddim(), **twice)


def _beside(name: str) -> Row:
  """The own work of the solver that has the most of it, beside the network's."""
  path, key = gaussian.linear(), jax.random.key(0)
  x = jax.random.normal(key, (_BATCH, *_SPEC.shape))

  def work(solver):  # steps of as many calls as the network's evaluations
    steps = max(1, _EVALUATIONS // solver.evaluations)
    problem, ts = path.problem(lambda t, x: 0.5 * x), grids.linear()(path, steps)
    own = compiling.jit(lambda x: integrate(solver, problem, key, x, ts))
    return functools.partial(own, x), _EVALUATIONS / solver.calls(steps)

  done = {k: work(solver) for k, solver in _every()}
  spent = {k: statistics.median(seconds(own) for _ in range(5)) * share for k, (own, share) in done.items()}
  most = max(spent, key=spent.get)
  own, share = done[most]
  network, _ = _network(Diffusion(spec=_SPEC, net=_NET, ema_decay=None), _BATCH)
  row = compare(f"{name}: {most}", own, "the network", network)
  return dataclasses.replace(row, ours=row.ours * share, ratios=tuple(ratio / share for ratio in row.ratios))


def _every() -> Iterator[tuple[str, Solver]]:
  """(name, solver) of all that take the steps they are told to, with their defaults."""
  for module in pkgutil.iter_modules(solvers.__path__):
    for name, value in vars(importlib.import_module(f"{solvers.__name__}.{module.name}")).items():
      if inspect.isfunction(value) and inspect.signature(value).return_annotation == Solver and name[0] != "_":
        value = value()
      if isinstance(value, Solver) and value.evaluations:
        yield f"{module.name}.{name}", value


def _row(name: str, size: int, solver: Solver, **fields) -> Row:
  """The sampler beside its network with batches of this size."""
  family = Diffusion(
    spec=_SPEC,
    net=_NET,
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
  cond = {"label": jnp.arange(_BATCH)} if family.conditions else None
  sample = compiling.jit(family.sample, static_argnums=2)
  peer, params = _network(family, size)
  return compare(name, functools.partial(sample, jax.random.key(0), params, _BATCH, cond), "the network alone", peer)


def _network(family: Diffusion, size: int) -> tuple[Work, PyTree]:
  """(its network, called as often as there are evaluations, one call feeding the next; its parameters)."""
  net, key = family.net.clone(conditions=entries(_SPEC, family.conditions)), jax.random.key(0)
  params = jax.jit(family.init)(key, {"x": jnp.zeros((1, *_SPEC.shape)), "label": jnp.zeros(1, jnp.int32)}).params

  @compiling.jit
  def alone(params, x):
    call = lambda x, t: (net.apply(params, x, jnp.broadcast_to(t, size)), None)
    return jax.lax.scan(call, x, jnp.linspace(2.0, -2.0, _EVALUATIONS))[0]

  return functools.partial(alone, params, jax.random.normal(key, (size, *_SPEC.shape))), params
