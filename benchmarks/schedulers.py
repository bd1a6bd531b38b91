"""diffusers' schedulers, for `benchmarks.solvers`: each with its spacings by noise level, and evenly in time.

Those that lower the order of their last steps are tried without that, too.
"""

import bisect
import functools
import inspect
from collections.abc import Callable, Iterator

import numpy as np

_BETAS = dict(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
_SPACINGS = {
  "t": dict(timestep_spacing="linspace"),
  "trailing": dict(timestep_spacing="trailing"),
  "log-SNR": dict(use_exponential_sigmas=True),
  "rho": dict(use_karras_sigmas=True),
  "Lu": dict(use_lu_lambdas=True),
  "beta": dict(use_beta_sigmas=True),
}
Made = tuple[str, str, Callable]  # algorithm, label, maker of a scheduler


def deterministic() -> Iterator[Made]:
  """Schedulers for the probability flow, by the algorithm that they are versions of."""
  import diffusers as d

  multi, single = d.DPMSolverMultistepScheduler, d.DPMSolverSinglestepScheduler
  yield "DDIM", "DDIM, trailing", lambda: d.DDIMScheduler(**_BETAS, timestep_spacing="trailing", clip_sample=False)
  yield from _spaced("DDIM", d.EulerDiscreteScheduler)
  yield from _spaced("DDIM", multi, solver_order=1)
  yield from _spaced("EDM Heun", d.HeunDiscreteScheduler)
  for i in (2, 3):
    for kind in ("midpoint", "heun"):
      also = dict(solver_order=i, solver_type=kind, also=f" ({kind})")
      first = dict(algorithm_type="dpmsolver", final_sigmas_type="sigma_min")
      yield from _spaced(f"DPM-Solver-{i}S", single, **first, **also)
      yield from _spaced(f"DPM-Solver++({i}M)", multi, **also)
      if i == 2:
        yield from _spaced("DPM-Solver++(2S)", single, **also)
    yield from _spaced(f"DEIS-{i}", d.DEISMultistepScheduler, solver_order=i)
  for i in (1, 2, 3):
    for b in ("bh1", "bh2"):
      name = f"UniPC-{i}" if i == 3 else f"UniPC-{i}, {b}"
      final = dict(final_sigmas_type="sigma_min" if b == "bh1" else "zero")  # to zero, bh1 gives NaN
      yield from _spaced(name, d.UniPCMultistepScheduler, solver_order=i, solver_type=b, also=f" ({b})", **final)
  sa = dict(predictor_order=2, corrector_order=2, tau_func=lambda t: 0)
  yield from _spaced("SA-Solver(2, 2), tau 0", d.SASolverScheduler, **sa)
  for i in (2, 3):
    for kind in ("midpoint", "heun"):
      also = dict(solver_order=i, solver_type=kind, also=f" (of eps, {kind})", final_sigmas_type="sigma_min")
      yield from _spaced(f"DPM-Solver({i}M)", multi, algorithm_type="dpmsolver", **also)
  yield from _spaced("DPM-Solver-2S", d.KDPM2DiscreteScheduler)
  yield from _spaced("DEIS-4 in rho", d.LMSDiscreteScheduler)
  yield from _spaced("DEIS-4 in rho", _lms_to_sigma_min(), also=" (to sigma_min)")
  for final in ("zero", "sigma_min"):
    yield from _spaced("iPNDM", _ipndm(), final_sigmas_type=final, also=f" (to {final})")
  for skip in (False, True):
    label = "PNDM, trailing" + (" (PLMS)" if skip else "")
    kind = dict(timestep_spacing="trailing", skip_prk_steps=skip, set_alpha_to_one=True)
    yield "PNDM", label, lambda kind=kind: d.PNDMScheduler(**_BETAS, **kind)


def _lms_to_sigma_min() -> type:
  """LMSDiscreteScheduler steps to no noise at all by its polynomial, which is not the denoised end."""
  import diffusers as d

  class LMSDiscreteScheduler(d.LMSDiscreteScheduler):
    def set_timesteps(self, *args, **kwargs):
      super().set_timesteps(*args, **kwargs)
      self.sigmas[-1] = self.sigmas[-2]

  return LMSDiscreteScheduler


def _ipndm() -> type:
  """IPNDM on the levels of the Euler scheduler: it takes any, and those of its own are another path's."""
  import diffusers as d
  import torch

  class IPNDMScheduler(d.EulerDiscreteScheduler):
    def scale_model_input(self, sample, timestep):
      return sample

    def step(self, eps, timestep, sample):
      if not hasattr(self, "inner"):
        self.inner = d.IPNDMScheduler()
        self.inner.set_timesteps(len(self.timesteps))
        self.inner.timesteps = self.timesteps
      ratio = self.sigmas.double()
      self.inner.alphas = 1 / torch.sqrt(1 + ratio**2)
      self.inner.betas = ratio * self.inner.alphas
      i = self.inner.step_index or 0
      v = (eps - self.inner.betas[i] * sample) / self.inner.alphas[i]  # what it reads
      return self.inner.step(v, timestep, sample)

  return IPNDMScheduler


def stochastic() -> Iterator[Made]:
  """Schedulers that add noise, by the algorithm that they are versions of."""
  import diffusers as d

  trailing = dict(**_BETAS, timestep_spacing="trailing", clip_sample=False)
  yield "DDPM ancestral", "DDPM, trailing", lambda: d.DDPMScheduler(**trailing)

  def ddim():
    scheduler = d.DDIMScheduler(**trailing)
    scheduler.step = functools.partial(scheduler.step, eta=1.0)
    return scheduler

  yield "DDPM ancestral", "DDIM with eta 1, trailing", ddim
  yield from _spaced("DDPM ancestral", d.EulerAncestralDiscreteScheduler)
  sde = dict(algorithm_type="sde-dpmsolver++", final_sigmas_type="sigma_min")
  for kind in ("midpoint", "heun"):
    also = dict(solver_order=2, solver_type=kind, also=f" ({kind})")
    yield from _spaced("DPM-Solver++(2M) SDE", d.DPMSolverMultistepScheduler, **sde, **also)
  for i in (2, 3):
    sa = dict(predictor_order=i, corrector_order=i, tau_func=lambda t: 1)
    yield from _spaced(f"SA-Solver({i}, {i}), tau 1", d.SASolverScheduler, **sa)


def _spaced(name: str, cls: type, also: str = "", **kwargs) -> Iterator[Made]:
  known = inspect.signature(cls.__init__).parameters
  for grid, spacing in _SPACINGS.items():
    if not known.keys() >= spacing.keys() and grid != "t":
      continue
    spacing = {k: v for k, v in spacing.items() if k in known}  # some have no other spacing than "linspace"
    label = f"{cls.__name__.removesuffix('Scheduler')}{also}, {grid}"
    made = functools.partial(cls, **_BETAS, **spacing, **kwargs)
    yield name, label, made
    if "lower_order_final" in known:
      yield name, f"{label}, order kept", functools.partial(made, lower_order_final=False)


def sample(scheduler, denoise_at: Callable, x, start: float, end: float, calls: int, cut_short: bool = False):
  """What a scheduler makes of `x`, at sigma / alpha = `start`, in at most `calls` calls down to `end`.

  One that would still step to `end` from its last call does, and the last call is made there; or that step is
  `cut_short`, and the last call is the end. None where there is no such step to cut.
  """
  import torch

  torch.manual_seed(0)
  _take_steps(scheduler, calls, cut_short)
  goes_on = _goes_on(scheduler)
  if cut_short and not goes_on:
    return None
  if hasattr(scheduler, "sigmas"):
    scheduler.sigmas = _unrounded(scheduler, start, end)
  around = torch.sqrt(1 + scheduler.sigmas[0].double() ** 2) if _scales(scheduler) else 1.0  # it works on x / alpha
  x = x * around
  for i, t in enumerate(scheduler.timesteps):
    if hasattr(scheduler, "sigmas"):
      ratio = _level(scheduler, i).double()
      alpha = 1 / torch.sqrt(1 + ratio**2)
    else:
      alpha = torch.sqrt(scheduler.alphas_cumprod[int(t)].double())
    sigma = torch.sqrt(1 - alpha**2)
    given = scheduler.scale_model_input(x, t)
    x0 = denoise_at(alpha, sigma, given, torch)
    last = i == len(scheduler.timesteps) - 1 and hasattr(scheduler, "sigmas") and scheduler.sigmas[-1] > 0
    if last and (cut_short or not goes_on):
      return x0  # a step that goes nowhere would leave the sample with the noise of the last level
    x = scheduler.step((given - alpha * x0) / sigma, t, x).prev_sample
  if not goes_on:
    return x
  ratio = scheduler.sigmas[-1].double()
  return denoise_at(1 / torch.sqrt(1 + ratio**2), ratio / torch.sqrt(1 + ratio**2), x.double(), torch)


def _take_steps(scheduler, calls: int, cut_short: bool) -> None:
  """Sets as many steps as `calls` calls allow: some need more calls than steps."""

  def needed(steps: int) -> int:
    scheduler.set_timesteps(steps)
    return len(scheduler.timesteps) + (_goes_on(scheduler) and not cut_short)

  even = isinstance(scheduler, _even())  # otherwise they step to times at which they do not call
  numbers = [steps for steps in range(1, calls + 1) if not even or 1000 % steps == 0]
  if needed(numbers[-1]) > calls:
    scheduler.set_timesteps(numbers[max(bisect.bisect_right(numbers, calls, key=needed) - 1, 0)])


def _level(scheduler, i: int):
  """sigma / alpha at call i."""
  half_way = i % 2 and hasattr(scheduler, "sigmas_interpol")
  return (scheduler.sigmas_interpol if half_way else scheduler.sigmas)[i]


def _goes_on(scheduler) -> bool:
  """Whether the last step of a scheduler that ends with noise is one to less of it."""
  levels = getattr(scheduler, "sigmas", None)
  return levels is not None and bool(0 < levels[-1] < 0.99 * levels[-2])


def _even() -> tuple[type, ...]:
  """Those whose steps are all of one number of times."""
  import diffusers as d

  return d.DDIMScheduler, d.PNDMScheduler


def _unrounded(scheduler, start, end):
  """The levels sigma / alpha of a scheduler, from `start`; where they are a function of their ends, in float64.

  Its own least level has the rounding of 1 - alphas_cumprod in float32, which shows in errors of 1e-8.
  """
  import torch

  levels, config = scheduler.sigmas.double(), scheduler.config
  num = len(scheduler.timesteps)  # the last level is where its last step ends
  even = config.get("use_exponential_sigmas") or config.get("use_lu_lambdas")
  if config.get("use_beta_sigmas"):
    levels[:num] = end + (levels[:num] - levels[num - 1]) / (levels[0] - levels[num - 1]) * (start - end)
    return levels
  if not (even or config.get("use_karras_sigmas")) or len(levels[:num].unique()) < num:
    return levels * (start / levels[0])  # they are of times, or it repeats them
  to, back = (np.log, torch.exp) if even else (lambda v: v ** (1 / 7), lambda v: v**7)
  levels[:num] = back(torch.linspace(to(start), to(end), num, dtype=torch.float64))
  return levels


def _scales(scheduler) -> bool:
  return type(scheduler).__name__ in (
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
  )
