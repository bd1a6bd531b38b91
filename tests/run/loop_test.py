"""What the loop does with what goes wrong, and with a family that is all its own."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.data.feed import feed
from gen_jax.data.synthetic import Ring
from gen_jax.errors import InputError
from gen_jax.families.diffusion import Diffusion
from gen_jax.family import State
from gen_jax.nets.mlp import TimeMLP
from gen_jax.run import compile as compiling
from gen_jax.run import mesh as meshes
from gen_jax.run.checkpoint import Checkpoints, abstract
from gen_jax.run.evaluate import Evaluate
from gen_jax.run.loop import Loop
from gen_jax.run.signals import Signals
from gen_jax.run.train import Train, rehearse, train
from gen_jax.run.writer import Writer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counter:
  """Sums what it is given, in plain sight; one metric or parameter turns bad at `bad_step`."""

  spec: object = None
  bad_step: int = -1
  bad: str = ""
  conditions = ()
  evaluations = 1

  def init(self, key, batch):
    del key, batch
    return State(jnp.zeros((), jnp.int32), {"sum": jnp.zeros(2), "keys": 0.0}, {})

  def step(self, key, state, batch):
    wrong = lambda name: jnp.where((state.step == self.bad_step) & (self.bad == name), jnp.nan, 0.0)
    total = state.params["sum"] + batch["x"].sum(0) + wrong("sum")
    params = {"sum": total, "keys": state.params["keys"] + jax.random.normal(key)}
    metrics = {"z_first": 1.0 * state.step + wrong("z_first"), "another": jnp.int32(3)}
    return state.replace(step=state.step + 1, params=params), metrics

  def sample(self, key, params, num, cond=None):
    return params["sum"] + jax.random.normal(key, (num, 2))


def _run(tmp_path, config, family=None, **options):
  """(final state, first metric of each step)."""
  options = Train(**{"steps": 23, "batch_size": 10, "save_every": 8, "log_every": 1, **options})
  tmp_path.mkdir(exist_ok=True)
  auto = (jax.sharding.AxisType.Auto,)
  mesh = jax.make_mesh((1,), ("data",), auto, devices=jax.devices()[:1])  # batches of 10 divide over few other numbers
  data = feed(
    Ring(num_train=100, num_test=10),
    seed=3,
    batch_size=10,
    sharding=meshes.rows(mesh),
    max_resident_bytes=options.max_resident_bytes,
  )
  checkpoints = Checkpoints(tmp_path, config, options.keep)
  loop = Loop(family=family or Counter(), feed=data, options=options, seed=3, mesh=mesh, checkpoints=checkpoints)
  step, state = loop.restore() or (0, loop.init()()())
  with Writer(tmp_path, first=step, last=options.steps, batch_size=10, log_every=options.log_every) as log:
    return loop.run(step, state, loop.program(), log, Signals())


def test_every_step_once_in_order(tmp_path, load):
  state = _run(tmp_path, load())
  rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
  assert [row["step"] for row in rows] == list(range(1, 24))
  assert [row["z_first"] for row in rows] == list(range(23))
  assert next(k for k in rows[0] if k != "step") == "z_first"  # the family's order, not the alphabet's
  assert int(state.step) == 23
  epochs = _run(tmp_path / "epochs", load(), steps=20)  # two: each of the 100 rows twice
  rows = Ring(num_train=100, num_test=10).split("train")[np.arange(100)]["x"]
  np.testing.assert_allclose(epochs.params["sum"], 2 * rows.sum(0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("pace", ["auto", 5, 64, 3 * 10**9])
def test_dispatches_do_not_matter(tmp_path, load, pace):
  a = _run(tmp_path / "a", load(), steps_per_dispatch=pace)
  b = _run(tmp_path / "b", load(), steps_per_dispatch=2, save_every=100)
  jax.tree.map(np.testing.assert_array_equal, a.params, b.params)


def test_streamed_like_resident(tmp_path, load):
  a = _run(tmp_path / "a", load(), max_resident_bytes=0, steps_per_dispatch=5)
  b = _run(tmp_path / "b", load(), steps_per_dispatch=5)
  jax.tree.map(np.testing.assert_array_equal, a.params, b.params)


@pytest.mark.parametrize("resident", [0, 2**30])
def test_everything_once(tmp_path, load, caplog, monkeypatch, resident):
  """The first state and a step are traced once, and what `program` compiles, from its shapes alone, is what runs."""
  traced = []
  for name in ("init", "step"):
    count = lambda *args, name=name, fn=getattr(Counter, name): traced.append(name) or fn(*args)
    monkeypatch.setattr(Counter, name, count)
  with jax.log_compiles():
    _run(tmp_path, load(), max_resident_bytes=resident, steps_per_dispatch=5)
  assert sorted(traced) == ["init", "step"]
  assert sum("Finished XLA compilation of jit(many)" in line for line in caplog.messages) == 1


def test_no_step_reuses_a_key(tmp_path, load):
  one = _run(tmp_path / "one", load(), steps=1).params["keys"]
  two = _run(tmp_path / "two", load(), steps=2).params["keys"]
  assert abs(float(two - 2 * one)) > 1e-3


@pytest.mark.parametrize("bad, named", [("z_first", "z_first = nan"), ("sum", "parameter ['params']['sum']")])
def test_not_finite(tmp_path, load, bad, named):
  with pytest.raises(InputError) as e:
    _run(tmp_path, load(), Counter(bad_step=17, bad=bad), steps_per_dispatch=4)
  assert named in str(e.value)
  assert "seed 3" in str(e.value)
  assert "the last good checkpoint is step 16" in str(e.value)
  if bad == "z_first":
    assert "step 18 (the batch of seed 3, step 17)" in str(e.value)
  assert Checkpoints(tmp_path, load()).steps() == [8, 16]


def test_not_finite_elsewhere(tmp_path, load, monkeypatch):
  monkeypatch.setattr(meshes, "agree", lambda value: 1.0 if isinstance(value, bool) else value)
  monkeypatch.setattr(meshes, "on_main", lambda work: work())
  with pytest.raises(InputError, match=r"not finite at step 8 or before .*: parameter of another process"):
    _run(tmp_path, load())


def test_diverging_run_names_its_terms(tmp_path, load):
  with pytest.raises(InputError, match=r"not finite at step \d+ .*loss = nan.*grad_norm = nan.*lr of the optimizer"):
    train(load({"family.optimizer.lr": "1e30"}), tmp_path / "run")


def test_refused_run_leaves_nothing_behind(tmp_path, load):
  with pytest.raises(InputError, match="1000 training rows"):
    train(load({"train.batch_size": "1001"}), tmp_path / "run")
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", ["init", "program"])
def test_what_fails_to_compile_is_told(tmp_path, load, monkeypatch, what):
  def fail():
    raise InputError(f"no room for the {what}")

  program = Loop.program
  made = {"init": lambda self: fail, "program": lambda self: program(self)._replace(compile=fail)}
  monkeypatch.setattr(Loop, what, made[what])
  with pytest.raises(InputError, match=f"no room for the {what}"):
    train(load(), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_other_config_is_refused(tmp_path, load):
  config = load({"train.steps": "5"})
  train(config, tmp_path / "run")
  before = (tmp_path / "run" / "config.json").read_bytes()
  other = load({"seed": "1", "family.latent": "5"})
  with pytest.raises(InputError, match=r"family.latent: 4 -> 5; seed: 0 -> 1"):
    train(other, tmp_path / "run")
  with pytest.raises(InputError, match="holds a run of 5 steps"):
    train(load({"train.steps": "4"}), tmp_path / "run")
  assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_finished_run(tmp_path, load, capsys):
  workdir = tmp_path / "run"
  train(load({"train.sample_every": "20"}), workdir)
  out = capsys.readouterr().out
  assert "parameters" in out.splitlines()[0] and "1,000 train, 100 test" in out.splitlines()[0]
  for name in (
    "samples.npz",
    "samples.png",
    "loss.png",
    "metrics.json",
    "samples/00000020.png",
    "samples/00000040.png",
  ):
    assert (workdir / name).stat().st_size > 0
  assert json.loads((workdir / "metrics.json").read_text())["step"] == 60
  assert list((workdir / "events").glob("events.out.tfevents*"))
  with np.load(workdir / "samples.npz", allow_pickle=False) as file:
    assert file["x"].shape == (8, 2) and file["x"].dtype == np.float32


def test_convolutions_stay_out_of_loops_on_the_cpu(on_cpu):
  conv = lambda x: jax.lax.conv(x, x, (1, 1), "SAME")
  inside = lambda x: jax.lax.scan(lambda c, _: (jax.jit(conv)(c), None), x, None, length=2)[0]
  x = jnp.ones((3, 3, 4, 4))
  assert not compiling.loops_well(jax.jit(conv).trace(x).jaxpr)
  assert not compiling.loops_well(jax.jit(inside).trace(x).jaxpr)
  assert compiling.loops_well(jax.jit(lambda x: x @ x).trace(x).jaxpr)


def test_a_rehearsal_traces_a_sampler_s_network_once():
  """Though its parameters, and so what it makes, have a place on the mesh, and the noise it begins with has none."""
  traces = []

  class Traced(TimeMLP):
    def __call__(self, *args, **kwargs):
      traces.append(args)
      return super().__call__(*args, **kwargs)

  source = Ring()
  family = Diffusion(spec=source.spec, net=Traced())
  batch = {"x": jnp.zeros((8, *source.spec.shape))}
  params = jax.eval_shape(family.init, jax.random.key(0), batch).params
  places = jax.tree.map(lambda a: meshes.replicated(meshes.local()), params)
  traces.clear()
  rehearse(family, abstract(params, places), Evaluate(likelihood_num=0))
  assert len(traces) == 1


def test_a_finished_run_is_scored_without_compiling_its_step(tmp_path, load, monkeypatch):
  config = load({"train.steps": "8"})
  train(config, tmp_path / "run")
  program = Loop.program
  monkeypatch.setattr(Loop, "program", lambda self: program(self)._replace(compile=lambda: pytest.fail("compiled")))
  train(config, tmp_path / "run")
  assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
