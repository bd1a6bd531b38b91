"""Error against network calls, on data whose score is exact: every deterministic solver beside diffusers and diffrax.

    python -m benchmarks.solvers [--out=runs/solvers]

The data are a ring of eight Gaussians in the plane (radius 0.65, standard deviation 0.2), the path is DDPM's, and all
solvers start from the same 256 points. What is measured is the root mean square distance of the final denoised points
from those of a solution with 20,000 steps of RK4. A solver's last call is the denoising at t_min. A method of several
calls a step takes as many steps as the number at the head of the column allows, its peers then make the same number of
calls. On each side, an algorithm's error is the least over the grids that the library has. All is in float64, also the
noise levels of diffusers, which it computes in float32 from rounded ends; it lowers the order of UniPC's last step, and
we do not. Prints a table; writes errors.json, the table as errors.md, and errors.png.
"""

import argparse
import dataclasses
import functools
import importlib.util
import inspect
import json
import pathlib
import warnings
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from gen_jax.processes import gaussian
from gen_jax.solvers import adams, deis, edm, grids, ode, semilinear

CALLS = (8, 16, 32, 64, 128, 256, 512)
POINTS = 256
ANGLES = np.arange(8) * np.pi / 4
MEANS, STD = 0.65 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], -1), 0.2
GRIDS = {
  "t": grids.linear(),
  "log-SNR": grids.log_snr(),
  "rho": grids.rho(),
  "rho < 0": grids.rho(-10.0),
  "quadratic": grids.quadratic(),
  "cosine": grids.cosine(),
  "shifted": grids.shifted(1 / 3),
  # What diffusers calls linspace: it denoises from well above the least noise.
  "t, cut short": lambda path, num: jnp.linspace(path.t_max, path.t_max / (num + 1), num + 1),
}
Errors = dict[int, float]  # calls -> error

# Algorithm -> ours. Peers' versions of the same algorithm have the same name below.
OURS = {
  "DDIM": semilinear.ddim(),
  "EDM Heun": edm.heun,
  "DPM-Solver-2S": semilinear.dpm_2s,
  "DPM-Solver-3S": semilinear.dpm_3s,
  "DPM-Solver++(2S)": semilinear.dpmpp_2s,
  "DPM-Solver++(2M)": semilinear.dpmpp_2m,
  "DPM-Solver++(3M)": semilinear.dpmpp_3m,
  "DPM-Solver++(3M), corrected": semilinear.dpmpp_3m_corrected,
  "exponential Heun": semilinear.exponential_heun,
  **{f"DEIS-{i}": deis.deis(i) for i in (2, 3, 4, 6)},
  "DEIS-3 in t": deis.deis(3, "t"),
  **{f"UniPC-{i}, {name}": adams.unipc(i, b) for i in (1, 2) for b, name in (("h", "bh1"), ("expm1", "bh2"))},
  **{f"UniPC-{i}": adams.unipc(i) for i in (3, 4, 6)},
  "SA-Solver(2, 2), tau 0": adams.sa_solver(2, 1, tau=0.0),
  "PNDM": deis.pndm,
  "iPNDM": deis.ipndm(),
  "Euler": ode.euler,
  "midpoint": ode.midpoint,
  "Heun": ode.heun,
  "Ralston": ode.ralston,
  "RK4": ode.rk4,
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


def main() -> None:
  """Measures, prints and writes."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/solvers"), help="folder of the results")
  flags = parser.parse_args()
  with jax.enable_x64(True):
    along = path()
    problem = along.problem(lambda t, x: denoise_at(along.alpha(t), along.sigma(t), x, _JaxNames))
    x = along.sigma(jnp.array(along.t_max)) * jax.random.normal(jax.random.key(0), (POINTS, 2), jnp.float64)
    exact = problem.denoise(along.t_min, loop(stepper(ode.rk4, problem), x, grids.log_snr()(along, 20_000)))
    ours = dict(measure_ours(along, problem, x, exact))
    theirs = dict(measure_diffrax(along, problem, x, exact))
    if importlib.util.find_spec("diffusers"):
      ends = (float(along.sigma(t) / along.alpha(t)) for t in (along.t_max, along.t_min))
      theirs = merge(theirs, measure_diffusers(np.asarray(x), *ends, np.asarray(exact)))
  Console(width=150).print(table(ours, theirs))
  flags.out.mkdir(parents=True, exist_ok=True)
  (flags.out / "errors.json").write_text(json.dumps({"ours": ours, "peers": theirs}, indent=2) + "\n")
  (flags.out / "errors.md").write_text(markdown(ours, theirs))
  plot(ours, theirs, flags.out / "errors.png")
  print(f"written to {flags.out}")


class _JaxNames:
  """The names of torch in `denoise_at` that jax.numpy spells differently."""

  asarray, exp = staticmethod(jnp.asarray), staticmethod(jnp.exp)
  logsumexp = staticmethod(jax.scipy.special.logsumexp)


def stepper(solver, problem):
  """(start, step) of a solver, for `loop`."""
  viewed, key = solver.of(problem), jax.random.key(0)
  return lambda x: solver.init(viewed, x), lambda x, carry, t, s: solver.step(viewed, key, x, t, s, carry)


def loop(method, x, ts):
  """The end of `x` along `ts`: what `integrate` does, compiled once for all numbers of steps."""
  start, step = method
  body = lambda i, state: step(*state, ts[i], ts[i + 1])
  return jax.lax.fori_loop(0, jnp.sum(ts >= 0) - 1, body, (x, start(x)))[0]


def measure(method, evaluations, startup, along, problem, x, exact) -> dict[str, Errors]:
  """grid -> errors of a method."""
  compiled = jax.jit(lambda x, ts, last: problem.denoise(last, loop(method, x, ts)))
  errors = {grid: {} for grid in GRIDS}
  for calls in CALLS:
    steps = (calls - 1 - startup) // evaluations
    if steps < 4 and startup:
      continue  # it would not come to its own steps
    if steps < 1:
      continue
    for grid in GRIDS:
      ts = times(grid, along, steps)
      errors[grid][calls] = rms(compiled(x, ts, ts[steps]), exact)
  return errors


@functools.cache
def times(grid: str, along, steps: int):
  """The times of a grid, filled up with -1 to one length for all."""
  with jax.disable_jit():  # a handful of numbers: compiling would take longer
    ts = GRIDS[grid](along, steps)
  return jnp.pad(ts, (0, max(CALLS) - steps), constant_values=-1.0)


def rms(x, exact) -> float:
  """Root mean square distance."""
  return float(np.sqrt(np.mean(np.sum((np.asarray(x) - np.asarray(exact)) ** 2, axis=-1))))


def measure_ours(*setting) -> Iterator[tuple[str, dict[str, Errors]]]:
  """(algorithm, grid -> errors)."""
  problem = setting[1]
  for name, solver in OURS.items():
    yield name, measure(stepper(solver, problem), solver.evaluations, sum(solver.startup), *setting)


def measure_diffrax(*setting) -> Iterator[tuple[str, dict[str, Errors]]]:
  """(algorithm, "diffrax, grid" -> errors): its Runge-Kutta methods on the probability flow, on our grids."""
  import diffrax

  flow = setting[1].ode()
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

    def step(x, carry, t, s, method=method):
      state = method.init(
        term, t, s, x, None
      )  # the first stage is new in every step, which helps no step but the first
      return method.step(term, t, s, x, None, state, made_jump=True)[0], carry

    errors = measure((lambda x: (), step), evaluations, 0, *setting)
    yield name, {f"diffrax, {grid}": e for grid, e in errors.items()}


def measure_diffusers(x, start, end, exact) -> Iterator[tuple[str, dict[str, Errors]]]:
  """(algorithm, "scheduler, grid" -> errors)."""
  import diffusers
  import torch

  warnings.filterwarnings("ignore", module="diffusers")
  diffusers.utils.logging.set_verbosity_error()
  for name, label, make in schedulers():
    errors = {}
    evaluations = OURS[name].evaluations
    for calls in CALLS:
      equal = (calls - 1) // evaluations * evaluations + 1
      try:
        errors[calls] = rms(sample(make(), torch.tensor(x), start, end, equal), exact)
      except (ValueError, IndexError, AssertionError):
        continue  # too few steps for this scheduler
    yield name, {label: errors}


def schedulers() -> Iterator[tuple[str, str, Callable]]:
  """(algorithm, label, maker of a scheduler)."""
  import diffusers as d

  betas = dict(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
  spacings = {
    "t": dict(timestep_spacing="linspace"),
    "log-SNR": dict(use_exponential_sigmas=True),
    "rho": dict(use_karras_sigmas=True),
    "Lu": dict(use_lu_lambdas=True),
  }

  def on_grids(name, cls, **kwargs):
    known = inspect.signature(cls.__init__).parameters
    for grid, spacing in spacings.items():
      if not known.keys() >= spacing.keys() and grid != "t":
        continue
      spacing = {k: v for k, v in spacing.items() if k in known}  # some have no other spacing than "linspace"
      label = f"{cls.__name__.removesuffix('Scheduler')}, {grid}"
      yield name, label, lambda spacing=spacing: cls(**betas, **spacing, **kwargs)

  multi, single = d.DPMSolverMultistepScheduler, d.DPMSolverSinglestepScheduler
  yield "DDIM", "DDIM, trailing", lambda: d.DDIMScheduler(**betas, timestep_spacing="trailing", clip_sample=False)
  yield from on_grids("DDIM", d.EulerDiscreteScheduler)
  yield from on_grids("DDIM", multi, solver_order=1)
  yield from on_grids("EDM Heun", d.HeunDiscreteScheduler)
  for i in (2, 3):
    kind = dict(algorithm_type="dpmsolver", final_sigmas_type="sigma_min", solver_order=i, solver_type="midpoint")
    yield from on_grids(f"DPM-Solver-{i}S", single, **kind)
    yield from on_grids(f"DPM-Solver++({i}M)", multi, solver_order=i)
    yield from on_grids(f"DEIS-{i}", d.DEISMultistepScheduler, solver_order=i)
  yield from on_grids("DPM-Solver++(2S)", single, solver_order=2)
  for i in (1, 2, 3):
    for b in ("bh1", "bh2"):
      name = f"UniPC-{i}" if i == 3 else f"UniPC-{i}, {b}"
      final = dict(final_sigmas_type="sigma_min" if b == "bh1" else "zero")  # to zero, bh1 gives NaN
      yield from on_grids(name, d.UniPCMultistepScheduler, solver_order=i, solver_type=b, **final)
  sa = dict(predictor_order=2, corrector_order=2, tau_func=lambda t: 0)
  yield from on_grids("SA-Solver(2, 2), tau 0", d.SASolverScheduler, **sa)
  for skip in (False, True):
    label = "PNDM, trailing" + (" (PLMS)" if skip else "")
    kind = dict(timestep_spacing="trailing", skip_prk_steps=skip, set_alpha_to_one=True)
    yield "PNDM", label, lambda kind=kind: d.PNDMScheduler(**betas, **kind)


def sample(scheduler, x, start, end, calls):
  """What a scheduler makes of `x`, at sigma / alpha = `start`, in at most `calls` calls down to `end`."""
  import torch

  for steps in range(calls, 0, -1):  # some need more calls than steps
    if not hasattr(scheduler, "sigmas") and 1000 % steps:
      continue  # those without noise levels of their own step to times at which they do not call
    scheduler.set_timesteps(steps)
    if len(scheduler.timesteps) <= calls:
      break
  if hasattr(scheduler, "sigmas"):
    scheduler.sigmas = unrounded(scheduler, start, end)
  around = torch.sqrt(1 + scheduler.sigmas[0].double() ** 2) if _scales(scheduler) else 1.0  # it works on x / alpha
  x = x * around
  for i, t in enumerate(scheduler.timesteps):
    if hasattr(scheduler, "sigmas"):
      ratio = scheduler.sigmas[i].double()
      alpha = 1 / torch.sqrt(1 + ratio**2)
    else:
      alpha = torch.sqrt(scheduler.alphas_cumprod[int(t)].double())
    sigma = torch.sqrt(1 - alpha**2)
    given = scheduler.scale_model_input(x, t)
    x0 = denoise_at(alpha, sigma, given, torch)
    if i == len(scheduler.timesteps) - 1 and hasattr(scheduler, "sigmas") and scheduler.sigmas[-1] > 0:
      return x0  # its last step goes nowhere: it would leave the sample with the noise of the last level
    x = scheduler.step((given - alpha * x0) / sigma, t, x).prev_sample
  return x


def unrounded(scheduler, start, end):
  """The levels sigma / alpha of a scheduler, from `start`; where they are a function of their ends, in float64.

  Its own least level has the rounding of 1 - alphas_cumprod in float32, which shows in errors of 1e-8.
  """
  import torch

  levels, config = scheduler.sigmas.double(), scheduler.config
  num = len(scheduler.timesteps)  # the last level is where its last step ends
  even = config.get("use_exponential_sigmas") or config.get("use_lu_lambdas")
  if not (even or config.get("use_karras_sigmas")) or len(levels[:num].unique()) < num:
    return levels * (start / levels[0])  # they are of times, or it repeats them
  to, back = (np.log, torch.exp) if even else (lambda v: v ** (1 / 7), lambda v: v**7)
  levels[:num] = back(torch.linspace(to(start), to(end), num, dtype=torch.float64))
  return levels


def _scales(scheduler) -> bool:
  return type(scheduler).__name__ in ("EulerDiscreteScheduler", "HeunDiscreteScheduler")


def merge(one, more):
  """`one` with further labels for each algorithm."""
  for name, errors in more:
    one[name] = one.get(name, {}) | errors
  return one


def least(errors: dict[str, Errors], calls: int) -> float:
  """The least error over grids."""
  return min((e[calls] for e in errors.values() if calls in e and np.isfinite(e[calls])), default=np.nan)


def lines(ours, theirs) -> Iterator[tuple[str, ...]]:
  """Ours, theirs and the ratio for every algorithm; then the best of each side."""

  def cell(mine, peer):
    shown = [f"{v:.1e}" if np.isfinite(v) else "-" for v in (mine, peer)]
    return " / ".join(shown) + (f" ({mine / peer:.2f})" if np.isfinite(mine / peer) else "")

  for name in [*ours, *(n for n in theirs if n not in ours)]:
    pairs = [(least(ours.get(name, {}), c), least(theirs.get(name, {}), c)) for c in CALLS]
    yield name, *(cell(a, b) for a, b in pairs)
  best = lambda side, c: np.nanmin([least(errors, c) for errors in side.values()])
  yield "best of all", *(cell(best(ours, c), best(theirs, c)) for c in CALLS)


def table(ours, theirs) -> Table:
  """For the terminal."""
  out = Table("algorithm", *map(str, CALLS), title="error by network calls: ours / best peer's (ours over theirs)")
  *algorithms, best = lines(ours, theirs)
  for line in algorithms:
    out.add_row(*line)
  out.add_section()
  out.add_row(*best)
  return out


def markdown(ours, theirs) -> str:
  """For a page."""
  rows = [("algorithm", *map(str, CALLS)), ("---",) * (1 + len(CALLS)), *lines(ours, theirs)]
  return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def plot(ours, theirs, file: pathlib.Path) -> None:
  """Error against calls: ours as lines, the best peer's version of each as crosses of the same colour."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot as plt

  figure, axes = plt.subplots(figsize=(9, 6))
  colours = plt.get_cmap("tab20")
  for i, (name, errors) in enumerate(ours.items()):
    style = dict(color=colours(i % 20), linestyle="-" if i < 20 else "--")
    axes.loglog(CALLS, [least(errors, c) for c in CALLS], label=name, **style)
    if name in theirs:
      axes.loglog(CALLS, [least(theirs[name], c) for c in CALLS], "x", color=style["color"])
  axes.set(
    xlabel="network calls", ylabel="RMS error at the end", title="ours: lines; best of diffusers, diffrax: crosses"
  )
  axes.legend(fontsize=6, ncols=2)
  figure.savefig(file, dpi=150, bbox_inches="tight")


if __name__ == "__main__":
  main()
