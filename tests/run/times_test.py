"""The search for times, where the best one is known."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.families.consistency import Consistency
from gen_jax.nets.mlp import TimeMLP
from gen_jax.run import times
from gen_jax.types import Spec


def test_finds_the_level_that_is_best(monkeypatch):
  """Stand-ins make the distance that of the logarithm of the last time from log 3."""
  family = Consistency(spec=Spec(shape=(2,), kind="vector"), net=TimeMLP(width=8, depth=1))
  trained = types.SimpleNamespace(family=family, params={})
  monkeypatch.setattr(times, "_start", lambda *_: (jnp.zeros((4, 2)), None))
  monkeypatch.setattr(times, "refine", lambda key, f, path, x, ts: jnp.broadcast_to(ts, x.shape))
  off = lambda x: float(abs(np.log(np.asarray(x)[0, 0] + 1e-9) - np.log(3.0)))
  monkeypatch.setattr(times, "_distance", lambda *_: off)
  monkeypatch.setattr(Consistency, "origin", lambda *_: None)
  found = times.search(trained, 2)
  assert [t for t, _ in found] == [pytest.approx(80.0), pytest.approx(3.0, rel=0.15)]


def test_refuses_what_has_no_times():
  with pytest.raises(InputError, match="consistency models"):
    times.search(types.SimpleNamespace(family=object()), 2)
