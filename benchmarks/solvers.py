"""Error against network calls, on data whose score is exact: every solver beside diffusers and diffrax.

    python -m benchmarks.solvers [--out=runs/solvers] [--kind=deterministic|stochastic]

The data are a ring of eight Gaussians in the plane (radius 0.65, standard deviation 0.2), and the path is DDPM's. What
is measured is the error of the final denoised points: a solver's last call is the denoising at t_min. A method of
several calls a step takes as many steps as the number at the head of the column allows, its peers then make at most as
many calls, and where settings of ours differ in that, the better number of them. On each side, an algorithm's error is
the least over a number of grids and settings. All is in float64, also the noise levels of diffusers, which it computes
in float32 from rounded ends; only those of its schedulers that are of low order round their samples.

Deterministic solvers all start from the same 256 points; their error is the root mean square distance from the end of a
solution with 20,000 steps of RK4. The ends of stochastic solvers differ from draw to draw: their error is that of the
distribution, the 2-Wasserstein distance of projections on eight directions (sliced, root mean square), over 262,144
draws; it has a floor, the distance of as many draws of the data, and no ratio is shown within ten times that, where
draws alone make a difference of several percent.

Prints the tables; for each kind of solvers writes its errors on every grid, <kind>.json, and its table, <kind>.md, as
soon as it has them, and at last errors.png. The deterministic ones take ten minutes on two cores, the stochastic
ones an hour or more; --kind takes one of them.
"""

import argparse
import dataclasses
import functools
import importlib.util
import itertools
import json
import pathlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import schedulers
from gen_jax.processes import gaussian
from gen_jax.solvers import adams, deis, edm, grids, langevin, ode, sde, semilinear
from gen_jax.solvers.base import Semilinear, Solver
from gen_jax.types import Array

CALLS = (8, 16, 32, 64, 128, 256, 512)
POINTS, DRAWS = 256, 262_144
ANGLES = np.arange(8) * np.pi / 4
MEANS, STD = 0.65 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], -1), 0.2
GRIDS = {
  "t": grids.linear(),
  "log-SNR": grids.log_snr(),
  "rho": grids.rho(),
  "rho < 0": grids.rho(-10.0),
  "quadratic": grids.quadratic(),
  "cosine": grids.cosine(),
  "shifted by 1/2": grids.shifted(1 / 2),
  "shifted by 1/3": grids.shifted(1 / 3),
  "shifted by 1/5": grids.shifted(1 / 5),
  "trailing": grids.trailing(),
}
# Of the many deterministic ones, those with a colour of their own in the plot.
BRIGHT = ("DDIM", "Heun", "EDM Heun", "DPM-Solver++(2M)", "DEIS-3", "iPNDM", "DEIS-6", "UniPC-3", "UniPC-6", "RK4")
Errors = dict[int, float]  # calls -> error


def single_step(make: Callable[[str], Solver], *on_grid) -> dict[str, Solver]:
  """Setting -> solver: of both kinds, with evaluations at the published places, and with all of them on the grid."""
  placed = {f"{kind}, ": make(kind) for kind in ("midpoint", "taylor")}
  return placed | {"on the grid, ": semilinear.single_step(*on_grid)}


# Algorithm -> ours, or setting -> ours. Peers' versions of the same algorithm have the same name.
Solvers = dict[str, Solver | dict[str, Solver]]
DETERMINISTIC: Solvers = {
  "DDIM": semilinear.ddim(),
  "EDM Heun": edm.heun,
  "DPM-Solver-2S": single_step(semilinear.dpm_2s, 2, "eps"),
  "DPM-Solver-3S": single_step(semilinear.dpm_3s, 3, "eps"),
  "DPM-Solver++(2S)": single_step(semilinear.dpmpp_2s, 2, "x0"),
  "DPM-Solver++(2M)": semilinear.dpmpp_2m,
  "DPM-Solver++(3M)": semilinear.dpmpp_3m,
  "DPM-Solver++(3M), corrected": semilinear.dpmpp_3m_corrected,
  "exponential Heun": semilinear.exponential_heun,
  **{f"DEIS-{i}": deis.deis(i) for i in (2, 3, 4, 6)},
  "DEIS-3 in t": deis.deis(3, "t"),
  "DEIS-4 in rho": deis.deis(4, "rho"),
  **{f"UniPC-{i}, {name}": adams.unipc(i, b) for i in (1, 2) for b, name in (("h", "bh1"), ("expm1", "bh2"))},
  **{f"UniPC-{i}": adams.unipc(i) for i in (3, 4, 6)},
  "SA-Solver(2, 2), tau 0": {f"b = {b}, ": adams.sa_solver(2, 1, tau=0.0, b=b) for b in (None, "h")},
  "PNDM": deis.pndm,
  "iPNDM": deis.ipndm(),
  "Euler": ode.euler,
  "midpoint": ode.midpoint,
  "Heun": ode.heun,
  "Ralston": ode.ralston,
  "RK4": ode.rk4,
}
STOCHASTIC: Solvers = {
  "DDPM ancestral": semilinear.ancestral,  # DDIM with eta 1
  "DPM-Solver++(2M) SDE": semilinear.dpmpp_2m_sde,
  "SA-Solver(2, 2), tau 1": {f"b = {b}, ": adams.sa_solver(2, 1, b=b) for b in (None, "h")},
  "SA-Solver(3, 3), tau 1": adams.sa_solver(3, 2),
  "EDM Heun, churn gamma 0.1": edm.churn(0.1),
  "reverse diffusion": sde.reverse_diffusion,
  "the same, Langevin correction": langevin.predictor_corrector(),
  "annealed Langevin, 10 steps a level": langevin.annealed(rounds=10),
  "Euler-Maruyama": sde.euler_maruyama,
  "stochastic Heun": sde.heun,
}


def path() -> gaussian.Gaussian:
  """DDPM's path, from the noise of its last step to that of its first: arXiv:2006.11239, section 4."""
  whole = dataclasses.replace(gaussian.linear(t_min=1e-6), t_max=1.1)  # a thousand steps end past t = 1
  alphas = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
  ends = jnp.array(0.5 * np.log(alphas / (1 - alphas)))[jnp.array([0, -1])]
  t_min, t_max = grids.time_at(whole, ends)
  return dataclasses.replace(whole, t_min=float(t_min), t_max=float(t_max))


def denoise_at(alpha, sigma, x, xp):
  """E[x0 | x] for x [B, 2], in the array module `xp`: jax.numpy or torch."""
  means = xp.asarray(MEANS)
  var = (alpha * STD) ** 2 + sigma**2
  logits = (alpha * (x @ means.T) - alpha**2 * (means**2).sum(-1) / 2) / var
  share = xp.exp(logits - xp.logsumexp(logits, -1)[:, None])
  return (alpha * STD**2 * x + sigma**2 * (share @ means)) / var


class Study(NamedTuple):
  """What every method is measured on.

  Attributes:
    path: the path.
    problem: its way back, with the exact denoiser.
    x: where all start, [B, 2] at t_max.
    error: ends [B, 2] -> their error.
  """

  path: gaussian.Gaussian
  problem: Semilinear
  x: Array
  error: Callable[[Any], float]


class Result(NamedTuple):
  """The errors of one kind of solvers: algorithm -> label -> errors.

  Attributes:
    ours: of our solvers.
    peers: of diffusers and diffrax.
    floors: of as many draws of the data in some tries; none where errors do not depend on draws.
  """

  ours: dict
  peers: dict
  floors: list[float]

  @property
  def floor(self) -> float:
    return float(np.mean(self.floors)) if self.floors else 0.0

  @property
  def noise(self) -> float:
    """Below this, ratios say little."""
    return 10 * self.floor


def main() -> None:
  """Measures, prints and writes, one kind after the other."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/solvers"), help="folder of the results")
  parser.add_argument("--kind", choices=KINDS, help="the one kind to measure; both, if it is not given")
  flags = parser.parse_args()
  flags.out.mkdir(parents=True, exist_ok=True)
  results = {}
  for kind in [flags.kind] if flags.kind else KINDS:
    with jax.enable_x64(True):
      result = results[kind] = KINDS[kind]()
    Console(width=150).print(table(kind, result.ours, result.peers, result.noise))
    if result.floors:
      span = f"from {min(result.floors):.1e} to {max(result.floors):.1e} in {len(result.floors)} tries"
      print(f"floor, {DRAWS:,} draws of the data: {result.floor:.1e}, {span}")
    (flags.out / f"{kind}.json").write_text(json.dumps(result._asdict(), indent=2) + "\n")
    (flags.out / f"{kind}.md").write_text(markdown(result.ours, result.peers, result.noise))
  plot(results, flags.out / "errors.png")
  print(f"written to {flags.out}")


def deterministic() -> Result:
  """Ends of the probability flow."""
  study = of_ends()
  return Result(*both(study, DETERMINISTIC, diffrax_flow(study), schedulers.deterministic), [])


def stochastic() -> Result:
  """Distributions of the ends of the reverse diffusion."""
  study = of_distribution()
  sides = both(study, STOCHASTIC, diffrax_diffusion(study), schedulers.stochastic)
  return Result(*sides, [study.error(ends_of_data(study.path, study.problem, DRAWS, seed=2 + i)) for i in range(10)])


KINDS = {"deterministic": deterministic, "stochastic": stochastic}


def of_ends() -> Study:
  """The study of deterministic solvers."""
  along, problem, x = setting(POINTS)
  start, step = stepper(ode.rk4, problem)
  exact = problem.denoise(along.t_min, loop(start, step, x, grids.log_snr()(along, 20_000)))
  return Study(along, problem, x, lambda ends: rms(np.asarray(ends) - np.asarray(exact)))


def of_distribution() -> Study:
  """The study of stochastic solvers: sliced Wasserstein distance, from quantiles of 32 times as many draws."""
  along, problem, x = setting(DRAWS)
  angles = np.arange(8) * np.pi / 8
  sliced = lambda ends: np.sort(np.asarray(ends) @ np.stack([np.cos(angles), np.sin(angles)]), axis=0)
  exact = sliced(ends_of_data(along, problem, 32 * DRAWS, seed=1)).reshape(DRAWS, 32, -1).mean(1)
  return Study(along, problem, x, lambda ends: rms(sliced(ends) - exact) / np.sqrt(len(angles)))


def setting(num: int) -> tuple[gaussian.Gaussian, Semilinear, Array]:
  """The path, its way back, and `num` points at its end."""
  along = path()
  problem = along.problem(lambda t, x: denoise_at(along.alpha(t), along.sigma(t), x, _JaxNames))
  return along, problem, along.prior(jax.random.key(0), (num, 2))


def ends_of_data(along, problem, num: int, seed: int) -> Array:
  """What a perfect sampler gives: denoised draws of x at t_min."""
  key_which, key_x = jax.random.split(jax.random.key(seed))
  means = jnp.asarray(MEANS)[jax.random.randint(key_which, (num,), 0, len(MEANS))]
  alpha, sigma = along.alpha(along.t_min), along.sigma(along.t_min)
  noise = jnp.sqrt((alpha * STD) ** 2 + sigma**2) * jax.random.normal(key_x, means.shape, means.dtype)
  return problem.denoise(along.t_min, alpha * means + noise)


def both(study: Study, solvers: Solvers, diffrax, theirs) -> tuple[dict, dict]:
  """(ours, peers): algorithm -> label -> errors."""
  ours = {name: {} for name in solvers}
  for name, solver in track(solvers.items(), "ours", total=len(solvers)):
    for label, one in by_setting(solver).items():
      errors = measure(stepper(one, study.problem), one.evaluations, sum(one.startup), study)
      ours[name] |= {label + grid: e for grid, e in errors.items()}
  peers = merge({}, diffrax)
  if importlib.util.find_spec("diffusers"):
    peers = merge(peers, measure_diffusers(study, solvers, theirs))
  return ours, peers


def by_setting(solver: Solver | dict[str, Solver]) -> dict[str, Solver]:
  """Setting -> solver."""
  return solver if isinstance(solver, dict) else {"": solver}


class _JaxNames:
  """The names of torch in `denoise_at` that jax.numpy spells differently."""

  asarray, exp = staticmethod(jnp.asarray), staticmethod(jnp.exp)
  logsumexp = staticmethod(jax.scipy.special.logsumexp)


def stepper(solver, problem):
  """(start, step) of a solver, for `loop`."""
  viewed = solver.of(problem)
  return solver.init, lambda key, x, carry, t, s: solver.step(viewed, key, x, t, s, carry)


def loop(start, step, x, ts):
  """The end of `x` along `ts`: what `integrate` does, compiled once for all numbers of steps."""
  key = jax.random.key(3)
  body = lambda i, state: step(jax.random.fold_in(key, i), *state, ts[i], ts[i + 1])
  return jax.lax.fori_loop(0, jnp.sum(ts >= 0) - 1, body, (x, start(x)))[0]


def measure(method, evaluations: int, startup: int, study: Study) -> dict[str, Errors]:
  """grid -> errors of a method."""
  compiled = jax.jit(lambda x, ts, last: study.problem.denoise(last, loop(*method, x, ts)))
  errors = {grid: {} for grid in GRIDS}
  for calls in CALLS:
    steps = (calls - 1 - startup) // evaluations
    if steps < 4 and startup:
      continue  # it would not come to its own steps
    if steps < 1:
      continue
    for grid in GRIDS:
      ts = times(grid, study.path, steps)
      errors[grid][calls] = study.error(compiled(study.x, ts, ts[steps]))
  return errors


@functools.cache
def times(grid: str, along, steps: int):
  """The times of a grid, filled up with -1 to one length for all."""
  with jax.disable_jit():  # a handful of numbers: compiling would take longer
    ts = GRIDS[grid](along, steps)
  return jnp.pad(ts, (0, max(CALLS) - steps), constant_values=-1.0)


def rms(x) -> float:
  """The root mean square length of the rows of x."""
  return float(np.sqrt(np.mean(np.sum(np.asarray(x) ** 2, axis=-1))))


def diffrax_flow(study: Study) -> Iterator[tuple[str, dict[str, Errors]]]:
  """(algorithm, "diffrax, grid" -> errors): its Runge-Kutta methods on the probability flow, on our grids."""
  import diffrax

  flow = study.problem.ode()
  term = diffrax.ODETerm(lambda t, y, _: flow.drift(t, y))
  methods = {
    "Euler": (diffrax.Euler(), 1),
    "midpoint": (diffrax.Midpoint(), 2),
    "Heun": (diffrax.Heun(), 2),
    "Ralston": (diffrax.Ralston(), 2),
    "Bosh3": (diffrax.Bosh3(), 3),
    "Tsit5": (diffrax.Tsit5(), 6),
    "Dopri5": (diffrax.Dopri5(), 6),
    "Dopri8": (diffrax.Dopri8(), 13),
  }
  for name, (method, evaluations) in methods.items():
    step = lambda key, x, carry, t, s, method=method: (_diffrax_step(method, term, t, s, x), carry)
    yield name, on_diffrax(step, evaluations, study)


def diffrax_diffusion(study: Study) -> Iterator[tuple[str, dict[str, Errors]]]:
  """The same for the reverse diffusion: its methods for additive noise, in the time -t, for it to rise."""
  import diffrax
  import lineax

  back = study.problem.sde()
  drift = diffrax.ODETerm(lambda time, y, _: -back.drift(-time, y))
  diffusion = lambda time, y, _: lineax.DiagonalLinearOperator(jnp.broadcast_to(back.diffusion(-time), y.shape))
  shape = jax.ShapeDtypeStruct(study.x.shape, study.x.dtype)
  methods = {
    "Euler-Maruyama": (diffrax.Euler(), 1, diffrax.BrownianIncrement),
    "stochastic Heun": (diffrax.Heun(), 2, diffrax.BrownianIncrement),
    "SEA": (diffrax.SEA(), 1, diffrax.SpaceTimeLevyArea),
    "ShARK": (diffrax.ShARK(), 2, diffrax.SpaceTimeLevyArea),
    "SRA1": (diffrax.SRA1(), 2, diffrax.SpaceTimeLevyArea),
  }
  for name, (method, evaluations, area) in methods.items():

    def step(key, x, carry, t, s, method=method, area=area):
      noise = diffrax.ControlTerm(diffusion, diffrax.UnsafeBrownianPath(shape, key, levy_area=area))
      return _diffrax_step(method, diffrax.MultiTerm(drift, noise), -t, -s, x), carry

    yield name, on_diffrax(step, evaluations, study)


def _diffrax_step(method, terms, t, s, x):
  state = method.init(terms, t, s, x, None)  # the first stage is new in every step, which helps no step but the first
  return method.step(terms, t, s, x, None, state, made_jump=True)[0]


def on_diffrax(step, evaluations: int, study: Study) -> dict[str, Errors]:
  """ "diffrax, grid" -> errors."""
  errors = measure((lambda x: (), step), evaluations, 0, study)
  return {f"diffrax, {grid}": e for grid, e in errors.items()}


def measure_diffusers(study: Study, solvers, made) -> Iterator[tuple[str, dict[str, Errors]]]:
  """(algorithm, "scheduler, grid" -> errors), with as many calls as ours of the same name make: the best of these."""
  import diffusers
  import torch

  warnings.filterwarnings("ignore", module="diffusers")
  diffusers.utils.logging.set_verbosity_error()
  x, ends = torch.tensor(np.asarray(study.x)), (study.path.t_max, study.path.t_min)
  start, end = (float(study.path.sigma(t) / study.path.alpha(t)) for t in ends)
  for name, label, make in track(list(made()), "diffusers"):
    errors, sizes = ({}, {}), {s.evaluations for s in by_setting(solvers.get(name, ode.euler)).values()}
    for calls, size, cut_short in itertools.product(CALLS, sizes, (False, True)):
      equal = (calls - 1) // size * size + 1
      try:
        out = schedulers.sample(make(), denoise_at, x, start, end, equal, cut_short)
      except (ValueError, IndexError, AssertionError, torch.linalg.LinAlgError):
        continue  # too few steps for this scheduler, or levels that end at 0, where it does not lower its order
      if out is not None:
        errors[cut_short][calls] = float(np.fmin(study.error(out), errors[cut_short].get(calls, np.inf)))
    yield name, {label: errors[False], f"{label}, cut short": errors[True]}


def merge(one, more):
  """`one` with further labels for each algorithm."""
  for name, errors in more:
    if one.get(name, {}).keys() & errors.keys():
      raise AssertionError(f"{name}: {tuple(errors)} are there already")
    one[name] = one.get(name, {}) | errors
  return one


def least(errors: dict[str, Errors], calls: int) -> float:
  """The least error over grids."""
  return min((e[calls] for e in errors.values() if calls in e and np.isfinite(e[calls])), default=np.nan)


def lines(ours, theirs, noise: float) -> Iterator[tuple[str, ...]]:
  """Ours, theirs and, above the noise, the ratio for every algorithm; then the best of each side."""

  def cell(mine, peer):
    shown = [f"{v:.1e}" if np.isfinite(v) else "-" for v in (mine, peer)]
    return " / ".join(shown) + (f" ({mine / peer:.2f})" if np.isfinite(mine / peer) and max(mine, peer) > noise else "")

  calls = columns(ours)
  for name in [*ours, *(n for n in theirs if n not in ours)]:
    pairs = [(least(ours.get(name, {}), c), least(theirs.get(name, {}), c)) for c in calls]
    yield name, *(cell(a, b) for a, b in pairs)
  best = lambda side, c: np.nanmin([least(errors, c) for errors in side.values()])
  yield "best of all", *(cell(best(ours, c), best(theirs, c)) for c in calls)


def columns(side) -> list[int]:
  """The numbers of calls that any method made."""
  return sorted({calls for errors in side.values() for e in errors.values() for calls in e})


def table(kind: str, ours, theirs, noise: float) -> Table:
  """For the terminal."""
  title = f"{kind} solvers, error by network calls: ours / best peer's (ours over theirs)"
  out = Table("algorithm", *map(str, columns(ours)), title=title)
  *algorithms, best = lines(ours, theirs, noise)
  for line in algorithms:
    out.add_row(*line)
  out.add_section()
  out.add_row(*best)
  return out


def markdown(ours, theirs, noise: float) -> str:
  """For a page."""
  head = ("algorithm", *map(str, columns(ours)))
  rows = [head, ("---",) * len(head), *lines(ours, theirs, noise)]
  return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def plot(results: dict[str, Result], file: pathlib.Path) -> None:
  """Error against calls, a panel for each kind: ours as lines, the best peer's version as crosses in their colour."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot as plt

  titles = {
    "deterministic": "deterministic solvers: root mean square error at the end",
    "stochastic": "stochastic solvers: distance of the ends' distribution from the data's",
  }
  places = {"deterministic": dict(loc="lower left"), "stochastic": dict(loc="upper left", bbox_to_anchor=(1, 1))}
  figure, panels = plt.subplots(1, len(results), figsize=(7 * len(results), 6), squeeze=False)
  for axes, (kind, result) in zip(panels[0], results.items(), strict=True):
    _panel(axes, result.ours, result.peers, titles[kind])
    if result.floors:
      axes.axhline(result.floor, color="black", linestyle=":", label="as many draws of the data")
    legend = dict(fontsize=8, title="ours: lines\nbest of diffusers and diffrax: crosses", title_fontsize=8)
    axes.legend(**legend, **places[kind])
  figure.savefig(file, dpi=110, bbox_inches="tight")


def _panel(axes, ours, theirs, title: str) -> None:
  from matplotlib import pyplot as plt

  calls, colours = columns(ours), iter((*plt.get_cmap("tab10").colors, "black"))
  draw = lambda errors, *style, **kwargs: axes.loglog(calls, [least(errors, c) for c in calls], *style, **kwargs)
  many = len(ours) > 2 * len(BRIGHT)
  for name, errors in ours.items():
    if many and name not in BRIGHT:
      draw(errors, color="lightgrey", linewidth=1, zorder=1)
      continue
    colour = next(colours)
    draw(errors, color=colour, label=name)
    if name in theirs:
      draw(theirs[name], "x", color=colour)
  if many:
    axes.plot([], [], color="lightgrey", label="others")
  axes.set(xlabel="network calls", title=title)
  axes.set_xticks(calls, [str(c) for c in calls], minor=False)
  axes.minorticks_off()


if __name__ == "__main__":
  main()
