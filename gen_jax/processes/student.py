"""What families that learn to sample in a few steps have in common: a run to learn from, and one to start from."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError, at_least
from gen_jax.family import State, entries
from gen_jax.ops.shapes import expand
from gen_jax.processes.gaussian import Gaussian
from gen_jax.processes.guidance import SLACK, OnPath, moved, reach
from gen_jax.processes.prediction import Prediction
from gen_jax.processes.probes import Probed
from gen_jax.resolve import part
from gen_jax.solvers import edm
from gen_jax.solvers.base import trajectory
from gen_jax.solvers.grids import Grid, lay, rho
from gen_jax.steps import start
from gen_jax.types import Array, Batch, Cond, Key, PyTree

_WAY = 18  # steps of Heun's method to the end of a teacher's trajectory, as arXiv:2206.00364 takes for small images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student(Probed):
  """Base of families: a network that jumps along the probability flow of a path, `steps` jumps to a sample.

  Its samples are compared with the ends of the teacher's trajectories, or without a teacher with those of the run that
  training starts from.

  Attributes:
    net: gives an output of the shape of x.
    path: alpha and sigma. A teacher that is only asked may be on another that has the same noise levels, and more; the
      network that training starts from has to be on the same.
    prediction: what the output of the network means.
    grid: where the sampler's jumps end.
    steps: number of the sampler's jumps, and of its network evaluations.
    clip: whether samples are clipped to [-1, 1].
    teacher: a run with a denoiser whose flow is learned: dict(name="load.load", workdir="runs/..."); None for that of
      the data.
    start: the run whose parameters training starts from, of the same network: another student, too, where there is a
      teacher to ask; None for random ones.

  Raises:
    InputError: settings that do not fit each other, the data, or the runs that are named.
  """

  path: Gaussian = part("processes", "gaussian.edm")
  prediction: Prediction = part("processes", "prediction.edm")
  grid: Grid = part("solvers", "grids.rho")
  steps: int = 1
  clip: bool = False
  teacher: Any = part("run", None)
  start: Any = part("run", None)

  def __post_init__(self):
    super().__post_init__()
    at_least(1, steps=self.steps)
    if self.teacher is not None:
      self._check("teacher", self.teacher, self._teachers)
    if self.start is not None:
      self._check("start", self.start, OnPath if self.teacher is None else OnPath | Student)
      self._check_network("start", self.start)

  @property
  def _teachers(self) -> Any:
    """The kinds of families that can teach."""
    return OnPath

  @property
  def evaluations(self) -> int:
    """Network evaluations per image: one a jump."""
    return self.steps

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step, with the teacher's parameters and the ends of some trajectories."""
    key_net, key_probe = jax.random.split(key)
    params, extra = self._init(key_net, batch), {}
    if self._first is not None:
      params = self._started(params)
    if self.teacher is not None:
      extra["teacher"] = jax.tree.map(jnp.copy, self.teacher.params)
      if (guide := _guide(self.teacher.family)) is not None:
        extra["guide"] = jax.tree.map(jnp.copy, guide)
    extra |= self._probed(key_probe, params, batch)
    return start(params, self.optimizer, self.ema_decay, **extra)

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples, [num, *shape]."""
    key_prior, key_path = jax.random.split(key)
    x = self.transport(key_path, params, self.path.prior(key_prior, (num, *self.spec.shape)), cond)
    return jnp.clip(x, -1, 1) if self.clip else x

  @abc.abstractmethod
  def transport(self, key: Key, params: PyTree, noise: Array, cond: Cond = None) -> Array:
    """What the jumps make of `noise` [B, *shape], which has the scale sigma(t_max)."""

  def path_of(self, params: PyTree) -> Gaussian:
    """The path of a model with these parameters: `path`."""
    del params
    return self.path

  def teach(self, extra: PyTree, cond: Cond) -> Callable[[Array, Array], Array]:
    """The teacher's denoiser, guided as its run says, for data on this path; parameters are those of `State.extra`."""
    return self._told(self.teacher, extra["teacher"], cond, extra.get("guide"))

  def _denoise(self, params: PyTree, cond: Cond, key: Key | None = None) -> Callable[[Array, Array], Array]:
    """(t, xt) -> the estimate of the data that the network's output stands for; with `key`, as in training."""
    training, cond = {} if key is None else dict(train=True, rngs={"dropout": key}), self._needed(cond)

    def denoise(t, xt):
      around = self.prediction(self.path, jnp.broadcast_to(t, xt.shape[:1]))
      out = self._net.apply(params, *around.inputs(xt), cond, None, **training)
      return around.to_x0(out, xt)

    return denoise

  def _way(self, noise: Array, cond: Cond) -> tuple[Array, Array]:
    """The trajectories from `noise` [B, *shape]: times [N], from t_max to t_min, and states [N, B, *shape]."""
    run, ts = self._reference, lay(rho(), self.path, _WAY)
    problem = self.path.problem(self._told(run, run.params, cond))
    return ts, trajectory(edm.heun, problem, jax.random.key(0), noise, ts)

  @property
  def _followed(self) -> bool:
    return self._reference is not None

  def _ends(self, noise: Array, cond: Cond) -> Array:
    return self._way(noise, cond)[1][-1]

  def _told(self, run: Any, params: PyTree, cond: Cond, guide: PyTree = None) -> Callable[[Array, Array], Array]:
    """The denoiser of a run with these parameters, and those of its guide, told the conditions that it knows."""
    family = run.family
    if guide is not None:
      family = dataclasses.replace(family, guidance=family.guidance.at(guide))
    denoise = family.denoiser(params, {name: cond[name] for name in family.conditions} or None if cond else None)
    return denoise if self._is_on_path(run) else moved(denoise, family.path_of(params), self.path)

  def _is_on_path(self, run: Any) -> bool:
    """Whether the path of a run is this one."""
    params = jax.device_get(run.params)  # which may lie elsewhere than what is traced
    with jax.ensure_compile_time_eval():
      ends = [(path.alpha(self._places), path.sigma(self._places)) for path in (self.path, run.family.path_of(params))]
      return bool(jnp.allclose(*jnp.asarray(ends), rtol=1e-4, atol=1e-6))

  def _started(self, params: PyTree) -> PyTree:
    """`params` with the network of the run to start from."""
    return {**params, "params": jax.tree.map(jnp.copy, self._first.params["params"])}

  def _check(self, name: str, run: Any, kinds: Any) -> None:
    family = run.family
    if not isinstance(family, kinds):
      also = ", or set a teacher beside it" if isinstance(family, Student) and name == "start" else ""
      raise InputError(f"{name}: {type(family).__name__} has no denoiser: choose a run of a diffusion model{also}")
    if family.spec.shape != self.spec.shape:
      raise InputError(f"{name}: its data have the shape {family.spec.shape}, these {self.spec.shape}")
    if set(family.conditions) != set(self.conditions):
      raise InputError(f"{name}: it is conditioned on {family.conditions}, this on {self.conditions}: set conditions")
    (least, most), (low, high) = reach(self.path), reach(family.path_of(run.params))
    if least < (1 - SLACK) * low or most > (1 + SLACK) * high:
      raise InputError(
        f"{name}: its path has noise levels sigma / alpha from {low:.3g} to {high:.3g}, this one's are from "
        f"{least:.3g} to {most:.3g}: move the ends of path inwards, or set it to that of the run"
      )

  def _check_network(self, name: str, run: Any) -> None:
    if not isinstance(run.family.path, Gaussian):
      raise InputError(
        f"{name}: {type(run.family).__name__} learns its path, and this one's is fixed: choose another run"
      )
    if not self._is_on_path(run):
      spelled = ", ".join(f"path.{k}={v}" for k, v in run.config.family.path.items())
      raise InputError(f"{name}: its path is another: set {spelled}")
    example = {"x": jnp.zeros((1, *self.spec.shape))}
    example |= {e.name: jnp.zeros((1, *e.shape), e.dtype) for e in entries(self.spec, self.conditions)}
    ours, theirs = jax.eval_shape(self._init, jax.random.key(0), example)["params"], run.params["params"]
    shapes = lambda tree: {jax.tree_util.keystr(k): v.shape for k, v in jax.tree_util.tree_leaves_with_path(tree)}
    if shapes(ours) != shapes(theirs):
      raise InputError(f"{name}: its network has other parameters: set net to that of the run")
    pairs = zip(*(f.prediction(self.path, self._places) for f in (self, run.family)), strict=True)
    if not all(jnp.allclose(ours, theirs, rtol=1e-3, atol=1e-6) for ours, theirs in pairs):
      raise InputError(f"{name}: its network predicts something else: set prediction to that of the run")

  @property
  def _first(self) -> Any:
    """The run whose parameters training starts from."""
    return self.start

  @property
  def _reference(self) -> Any:
    """The run whose trajectories samples are compared with."""
    return self.start if self.teacher is None else self.teacher

  @property
  def _places(self) -> Array:
    """Some times of the path."""
    return jnp.linspace(self.path.t_min, self.path.t_max, 5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distilled(Student):
  """Base of students that cannot do without a teacher, and are another copy of its network.

  Training starts with the parameters of `start`, or those of the teacher.

  Raises:
    InputError: settings that do not fit each other, the data, or the runs that are named; no teacher.
  """

  path: Gaussian = part("processes", "gaussian.cosine")
  prediction: Prediction = part("processes", "prediction.v")

  def __post_init__(self):
    if self.teacher is None:
      raise InputError('teacher: there is nothing to distil: set teacher=dict(name="load.load", workdir="runs/...")')
    super().__post_init__()
    self._check_network("teacher", self.teacher)

  @property
  def _first(self) -> Any:
    return self.teacher if self.start is None else self.start

  def _network(self) -> PyTree:
    """The teacher's network, and not the uncertainty that a teacher may have learned beside it: a copy."""
    return {"params": jax.tree.map(jnp.copy, self.teacher.params["params"])}


def _guide(family: Any) -> PyTree:
  """The parameters of what a family is guided by, if there is something."""
  return family.guidance.params if isinstance(family, OnPath) else None


def jump(path: Any, x0: Array, xt: Array, t: Array, s: Array) -> Array:
  """Where the straight line from xt [B, ...] at t to the estimate x0 of the data is at s: a step of DDIM.

  It is xt itself where s = t, whatever x0 is: arXiv:2010.02502, eq. 12 without noise.
  """
  t, s = (jnp.broadcast_to(jnp.asarray(u, xt.dtype), xt.shape[:1]) for u in (t, s))
  kept = jnp.where(s == t, 1.0, path.sigma(s) / path.sigma(t))
  added = jnp.where(s == t, 0.0, path.alpha(s) - kept * path.alpha(t))
  return expand(kept, xt) * xt + expand(added, xt) * x0
