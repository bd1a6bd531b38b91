"""What bounds codes: known divergences and gradients, and a codebook that finds the best quantizer there is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.errors import InputError
from gen_jax.ops import regularizers

KEY = jax.random.key(0)


def test_kl_of_normal_codes():
  h = jnp.broadcast_to(jnp.array([1.0, -2.0, jnp.log(0.5), jnp.log(3.0)]), (2, 3, 3, 4))
  made = regularizers.KL(weight=0.1).train(KEY, {}, {}, h)
  kl = [(0.25 + 1 - 1) / 2 + np.log(2), (9 + 4 - 1) / 2 - np.log(3)]
  assert made.penalty == pytest.approx(0.1 * np.mean(kl), rel=1e-5)
  assert made.seen is made.codes and made.codes.shape == (2, 3, 3, 2)


def test_kl_codes_are_draws():
  h = jnp.broadcast_to(jnp.array([1.0, jnp.log(0.5)]), (40_000, 2))
  z = regularizers.KL().encode(KEY, h)
  assert z.mean() == pytest.approx(1.0, abs=4 * 0.5 / 200)
  assert z.std() == pytest.approx(0.5, abs=4 * 0.5 / 200 / 2**0.5)


def test_gradients_pass_the_codebook_and_stop_at_it():
  vq = regularizers.VQ(size=5, weight=0.5)
  params, memory = vq.start(KEY, 2)
  h = jax.random.normal(jax.random.key(1), (6, 2))

  def terms(params, h):
    made = vq.train(KEY, params, memory, h)
    return made.seen.sum(), made.penalty

  of_seen, of_penalty = jax.jacrev(terms, argnums=(0, 1))(params, h)
  np.testing.assert_array_equal(of_seen[0]["codebook"], 0)
  np.testing.assert_array_equal(of_penalty[0]["codebook"], 0)
  np.testing.assert_allclose(of_seen[1], 1.0)
  distance = np.linalg.norm(np.asarray(h)[:, None] - np.asarray(params["codebook"]), axis=-1)
  near = np.asarray(params["codebook"])[distance.argmin(1)]
  np.testing.assert_allclose(of_penalty[1], 0.5 * 2 * (h - near) / h.size, rtol=1e-5)


@pytest.mark.parametrize(("size", "distortion"), [(1, 1.0), (2, 1 - 2 / np.pi), (4, 0.11748), (8, 0.03454)])
def test_the_codebook_becomes_the_best_quantizer_of_a_normal_distribution(size, distortion):
  """The least mean squared errors are those of J. Max, Quantizing for Minimum Distortion (1960), table I."""
  vq = regularizers.VQ(size=size)

  def step(carry, i):
    key = jax.random.fold_in(KEY, i)
    made = vq.train(key, *carry, jax.random.normal(jax.random.fold_in(key, 1), (1000, 1)))
    return (made.params, made.memory), made.metrics["commitment"]

  start = vq.start(jax.random.key(5), 1)
  error = jax.jit(lambda start: jax.lax.scan(step, start, jnp.arange(1200))[1])(start)[-400:]
  assert error.mean() == pytest.approx(distortion, rel=0.02)


def test_without_restarts_vectors_far_off_are_never_used():
  """What the restarts are for: of a codebook away from the codes, all but one vector stay where they are."""
  start = {"codebook": jnp.linspace(50.0, 60.0, 8)[:, None]}
  h = jax.random.normal(KEY, (1000, 1))
  for restart, bound in ((0.0, 1.5), (0.1, 3.0)):
    vq = regularizers.VQ(size=8, restart=restart)
    params, memory = start, vq.start(KEY, 1)[1]
    for i in range(3):
      made = vq.train(jax.random.key(i), params, memory, h)
      params, memory = made.params, made.memory
    assert (made.metrics["perplexity"] > bound) == (restart > 0)


def test_bad_settings_are_refused():
  with pytest.raises(InputError, match=r"size = 0"):
    regularizers.VQ(size=0)
  with pytest.raises(InputError, match=r"decay = 1.0 should be in \[0, 1\)"):
    regularizers.VQ(decay=1.0)
  for kind in (regularizers.KL, regularizers.VQ):
    with pytest.raises(InputError, match=r"weight = -1"):
      kind(weight=-1)
