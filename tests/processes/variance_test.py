"""The learned variance against DDPM's own formulas, in numpy."""

import jax.numpy as jnp
import numpy as np

from gen_jax.processes import gaussian, variance

PATH, T, S = gaussian.linear(), np.array([0.7, 0.2]), np.array([0.6, 0.15])


def posterior(path, x0, xt, t, s):
  """Equations 6 and 7 of arXiv:2006.11239, with beta of the step from s to t: mean, least and largest variance."""
  alpha_bar = lambda u: np.asarray(path.alpha(jnp.asarray(u)), np.float64) ** 2
  now, before = alpha_bar(t), alpha_bar(s)
  beta = 1 - now / before
  mean = np.sqrt(before) * beta / (1 - now) * x0 + np.sqrt(1 - beta) * (1 - before) / (1 - now) * xt
  return mean, (1 - before) / (1 - now) * beta, beta


def test_scale_lies_between_the_two():
  """Equation 15 of arXiv:2102.09672: v log beta + (1 - v) log beta~."""
  _, least, most = posterior(PATH, 0.0, 0.0, T, S)
  for v in (0.0, 0.3, 1.0):
    share = jnp.full((2, 3), v)
    scale = np.asarray(variance.scale(PATH, share, jnp.array(T), jnp.array(S)))
    expected = np.exp(v * np.log(most) + (1 - v) * np.log(least)) / least
    np.testing.assert_allclose(scale**2, np.broadcast_to(expected[:, None], (2, 3)), rtol=1e-4)


def test_divergence():
  """Of two normal laws with the means and variances of those formulas."""
  x0, guess, xt, share = np.array([0.4, -0.9]), np.array([0.1, -0.5]), np.array([1.3, 0.2]), np.array([0.3, 0.8])
  mean, least, most = posterior(PATH, x0, xt, T, S)
  other, _, _ = posterior(PATH, guess, xt, T, S)
  var = np.exp(share * np.log(most) + (1 - share) * np.log(least))
  expected = 0.5 * (np.log(var / least) + (least + (mean - other) ** 2) / var - 1)
  out = variance.kl(PATH, jnp.array(share)[:, None], jnp.array(x0 - guess)[:, None], jnp.array(T), jnp.array(S))
  np.testing.assert_allclose(out[:, 0], expected, rtol=2e-3)
