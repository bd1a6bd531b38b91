"""Solvers that choose their own steps: network calls and error for each tolerance, on what `benchmarks.solvers` solves.

    python -m benchmarks.adaptive

From 256 points at the noise end, in float64; rtol and atol are the tolerance, and all control the error of the batch as
a whole. Peers: diffrax's `diffeqsolve` with its usual control, the error of the last step alone, and torchdiffeq. The
calls are counted where they are made, with the last denoising, and the error is that of the denoised points: the root
mean square distance from the end of a fine solution.

Prints the table in Markdown: calls / error.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from benchmarks import peers
from benchmarks.solvers import Study, denoise_at, of_ends
from gen_jax.solvers import adaptive, base
from gen_jax.types import Array

TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10, 1e-12)
Solve = Callable[[float], tuple[int, Array]]  # tolerance -> (calls, x at t_min)


def main() -> None:
  """Measures and prints."""
  with jax.enable_x64(True):
    study = of_ends()
    print(f"| method | {' | '.join(f'{tol:.0e}' for tol in TOLERANCES)} |")
    print("| --- " * (len(TOLERANCES) + 1) + "|")
    for name, solve in methods(study):
      print(f"| {name} | {' | '.join(cell(study, *solve(tol)) for tol in TOLERANCES)} |", flush=True)


def methods(study: Study) -> Iterator[tuple[str, Solve]]:
  """(name, solve) of ours and of the peers that are installed."""
  yield "Tsit5", ours(study, adaptive.tsit5)
  yield "diffrax Tsit5", by_diffrax(study, "Tsit5")
  yield "Dopri5", ours(study, adaptive.dopri5)
  yield "diffrax Dopri5", by_diffrax(study, "Dopri5")
  if not peers.missing("torchdiffeq"):
    yield "torchdiffeq dopri5", by_torchdiffeq(study)


def cell(study: Study, calls: int, x: Array) -> str:
  """Calls, with the last denoising, and the error after it."""
  return f"{calls + 1} / {study.error(study.problem.denoise(study.path.t_min, x)):.1e}"


def ours(study: Study, make: Callable[[float, float], base.Solver]) -> Solve:
  """By the solver of that function."""
  ts = jnp.array([study.path.t_max, study.path.t_min])

  def solve(tol):
    problem, calls = counted(study)
    return calls(base.integrate(make(tol, tol), problem, jax.random.key(0), study.x, ts))

  return solve


def by_diffrax(study: Study, name: str) -> Solve:
  """By diffrax's own loop and step."""
  import diffrax

  def solve(tol):
    problem, calls = counted(study)
    drift, control = problem.ode().drift, diffrax.PIDController(tol, tol)
    term, method = diffrax.ODETerm(lambda t, y, _: drift(t, y)), getattr(diffrax, name)()
    ends = study.path.t_max, study.path.t_min
    return calls(diffrax.diffeqsolve(term, method, *ends, None, study.x, stepsize_controller=control).ys[0])

  return solve


def counted(study: Study) -> tuple[base.Semilinear, Callable[[Array], tuple[int, Array]]]:
  """(the problem with a network whose calls are counted, x -> (their number until x was there, x))."""
  made = []

  def denoise(t, x):
    jax.debug.callback(lambda _: made.append(1), t)
    return study.problem.denoise(t, x)

  def calls(x):
    jax.block_until_ready(x)
    jax.effects_barrier()
    return len(made), x

  return study.problem._replace(denoise=denoise), calls


def by_torchdiffeq(study: Study) -> Solve:
  """By torchdiffeq, of the same drift in torch, with numbers for the path from JAX."""
  import torch
  from torchdiffeq import odeint

  along = study.path
  slopes = jax.jit(lambda t: jax.jvp(lambda t: (along.alpha(t), along.sigma(t)), (t,), (jnp.ones_like(t),)))

  def solve(tol):
    made = []

    def drift(t, x):
      made.append(1)
      (a, s), (da, ds) = ([float(v) for v in pair] for pair in slopes(jnp.asarray(t.item())))
      rate = ds / s
      return (da - rate * a) * denoise_at(a, s, x, torch) + rate * x

    x, ts = torch.tensor(jax.device_get(study.x)), torch.tensor([along.t_max, along.t_min], dtype=torch.float64)
    within = dict(step_t=ts[1:])  # or it goes past the end, where there is no path, and interpolates
    x = odeint(drift, x, ts, rtol=tol, atol=tol, method="dopri5", options=within)[-1]
    return len(made), jnp.asarray(x.numpy())

  return solve


if __name__ == "__main__":
  main()
