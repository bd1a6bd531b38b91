"""The sampler of arXiv:2206.00364 (EDM), for any Gaussian path.

A path alpha, sigma is the path of EDM, z = x0 + ratio eps, seen through x = alpha z with ratio = sigma / alpha; the
method works on z with the ratio as its time, so that it does not depend on how a path is timed.
"""

from gen_jax.ops.shapes import expand
from gen_jax.solvers.base import Solver, as_semilinear


def _heun(p, key, x, t, s, carry):
  """Heun's method on dz/d(ratio) = (z - x0) / ratio: lines 4 to 8 of algorithm 1.

  Its last line, the Euler step to zero noise, is what a sampler gets from denoising at the end of the grid.
  """
  del key
  alpha = lambda u: expand(p.alpha(u), x)
  ratio = lambda u: expand(p.sigma(u) / p.alpha(u), x)
  slope = lambda u, z: (z - p.denoise(u, alpha(u) * z)) / ratio(u)
  z, h = x / alpha(t), ratio(s) - ratio(t)
  d = slope(t, z)
  d_next = slope(s, z + h * d)
  return alpha(s) * (z + h * (d + d_next) / 2), carry


heun = Solver(_heun, of=as_semilinear, order=2, evaluations=2)
