"""Discrete noise against brute force: products of transition matrices and sums over all states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.processes import categorical

LEVELS = 4
PROCESSES = {"absorbing": categorical.absorbing(), "uniform": categorical.uniform()}
X = np.array([0.1, 0.2, 0.3, 0.4], np.float32)  # probabilities of the data


def marginal(process, t):
  """q(z_t | x) for every x and z, [levels, levels + 1], by its definition."""
  alpha = float(process.alpha(jnp.asarray(t)))
  noise = np.eye(LEVELS + 1)[LEVELS] if process.masked else np.append(np.full(LEVELS, 1 / LEVELS), 0)
  return alpha * np.eye(LEVELS, LEVELS + 1) + (1 - alpha) * noise


def transition(process, s, t):
  """The matrix that takes q(z_s | x) to q(z_t | x), for every x."""
  early, late = marginal(process, s), marginal(process, t)
  kept = float(process.alpha(jnp.asarray(t)) / process.alpha(jnp.asarray(s)))
  noise = np.eye(LEVELS + 1)[LEVELS] if process.masked else np.append(np.full(LEVELS, 1 / LEVELS), 0)
  matrix = kept * np.eye(LEVELS + 1) + (1 - kept) * noise
  np.testing.assert_allclose(early @ matrix, late, atol=1e-6)
  return matrix


@pytest.mark.parametrize("name", PROCESSES)
def test_perturb(name):
  """Shares of the values, at times that differ within a batch."""
  process, t = PROCESSES[name], jnp.array([0.0, 0.3, 1.0])
  z = np.asarray(process.perturb(jax.random.key(0), jnp.full((3, 50_000), 2), t, LEVELS))
  for row, time in zip(z, t, strict=True):
    shares = np.bincount(row, minlength=LEVELS + 1) / len(row)
    np.testing.assert_allclose(shares, marginal(process, time)[2], atol=5 * 0.5 / len(row) ** 0.5)


@pytest.mark.parametrize("name", PROCESSES)
def test_posterior(name):
  """Bayes' rule over all states for each x; and the mean of that over the x that can be."""
  process, s, t = PROCESSES[name], 0.3, 0.7
  matrix, early = transition(process, s, t), marginal(process, s)
  law = lambda z, x: process.posterior(jnp.array([z]), jnp.array(x, jnp.float32)[None], jnp.array(t), jnp.array(s))[0]
  for z in range(LEVELS + process.masked):
    joint = early * matrix[:, z]  # of z_s and z, for each x
    possible = joint.sum(-1) > 0
    each = joint[possible] / joint[possible].sum(-1, keepdims=True)
    for x, expected in zip(np.eye(LEVELS)[possible], each, strict=True):
      np.testing.assert_allclose(law(z, x), expected, atol=1e-6)
    weight = X[possible] / X[possible].sum()
    np.testing.assert_allclose(law(z, X), weight @ each, atol=1e-6)


@pytest.mark.parametrize("name", PROCESSES)
def test_divergence(name):
  """It is 0 where the model knows the data, -log p at s = 0, and nowhere negative."""
  process, x = PROCESSES[name], jnp.arange(LEVELS)
  log_p = jnp.log(jnp.broadcast_to(X, (LEVELS, LEVELS)))
  z = jnp.full(LEVELS, LEVELS) if process.masked else (x + 1) % LEVELS
  end = process.kl(z, x, log_p, jnp.array(1.0), jnp.array(0.0))
  np.testing.assert_allclose(end, -np.log(X), rtol=1e-4)
  sure = jnp.log(jax.nn.one_hot(x, LEVELS) + 1e-20)
  assert float(jnp.abs(process.kl(z, x, sure, jnp.array(0.6), jnp.array(0.5))).max()) < 1e-5
  assert float(process.kl(z, x, log_p, jnp.array(0.6), jnp.array(0.5)).min()) > 0


def test_a_mask_costs_what_its_value_was_thought_to_be():
  """However improbable that is, and with a slope: a step there uncovers it with probability (t - s) / t."""
  log_p = jnp.array([[-150.0, 0.0]])
  at = lambda log_p, s: categorical.absorbing().kl(jnp.array([2]), jnp.array([0]), log_p, jnp.array(0.8), jnp.array(s))
  assert float(at(log_p, 0.0)[0]) == pytest.approx(150.0)
  assert float(at(log_p, 0.6)[0]) == pytest.approx(150.0 / 4)
  assert float(jax.grad(lambda log_p: at(log_p, 0.0)[0])(log_p)[0, 0]) == -1.0


@pytest.mark.parametrize("masked", [False, True])
def test_early_steps_keep_their_digits(masked):
  """At the start of a long chain 1 - alpha is some forty rounding errors of alpha; brute force in float64."""
  s, t = 1e-3, 2e-3
  early, late = (np.cos(u * np.pi / 2) ** 2 for u in (s, t))
  noise = np.eye(LEVELS + 1)[LEVELS] if masked else np.append(np.full(LEVELS, 1 / LEVELS), 0)
  marginal = early * np.eye(LEVELS, LEVELS + 1) + (1 - early) * noise
  matrix = late / early * np.eye(LEVELS + 1) + (1 - late / early) * noise
  process = (categorical.absorbing if masked else categorical.uniform)("cosine")
  for z in (LEVELS,) if masked else (0, 1):
    each = marginal * matrix[:, z]
    each /= each.sum(-1, keepdims=True)
    mixed = X.astype(np.float64) @ each
    expected = np.sum(each[0] * np.log(np.where(each[0] > 0, each[0] / np.where(mixed > 0, mixed, 1), 1)))
    ts = jnp.array(t), jnp.array(s)
    value = process.kl(jnp.array([z]), jnp.array([0]), jnp.log(X)[None], *ts)
    np.testing.assert_allclose(value, expected, rtol=2e-4)
