"""Programs are compiled with options that this version of XLA knows, and with which it computes what was written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.run import compile as compiling

pytestmark = pytest.mark.usefixtures("on_cpu")

LAST = compiling._OPTIONS["cpu"][-1]  # the most cautious
OTHER = LAST | {"xla_backend_optimization_level": "0"}
UNKNOWN = {"xla_no_such_option": "1"}


@pytest.fixture
def offer(monkeypatch):
  """offer(*options) -> those taken of them."""

  def take(*options):
    monkeypatch.setitem(compiling._OPTIONS, "cpu", options)
    compiling.options.cache_clear()
    return compiling.options("cpu")

  yield take
  compiling.options.cache_clear()


def test_the_first_that_xla_knows_is_taken(offer):
  assert offer(UNKNOWN, OTHER, LAST) == OTHER
  assert offer(UNKNOWN) is None
  assert compiling.options("no such backend") is None


def test_options_with_which_sums_are_wrong_are_passed_over(offer, monkeypatch):
  jit = jax.jit

  def miscompiling(fn, compiler_options=None, **kwargs):
    return jit(lambda *x: fn(*x) + (compiler_options == OTHER), compiler_options=compiler_options, **kwargs)

  monkeypatch.setattr(jax, "jit", miscompiling)
  assert offer(OTHER, LAST) == LAST


@pytest.mark.parametrize("rows", [3, 4096, 40_000])
def test_a_sum_over_a_constant_times_a_column(rows):
  """XLA takes another way where there are many rows."""
  x = np.random.default_rng(0).standard_normal((rows, 3), dtype=np.float32)
  scale = lambda a, x: 2 * jnp.full_like(x, 0.5) * a
  fn = lambda a, x: (scale(a, x) + x * jnp.exp(-scale(a, x)) + jnp.expm1(-scale(a, x))).sum(-1)
  a = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
  expected = (a + x * np.exp(-a.astype(np.float64)) + np.expm1(-a)).sum(-1)
  np.testing.assert_allclose(compiling.jit(fn)(a, x), expected, atol=1e-5)
