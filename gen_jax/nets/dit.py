"""The diffusion transformer (2212.09748): attention between patches, conditioned by adaLN-zero."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from gen_jax.nets.attention import MultiHead, Tokens
from gen_jax.nets.condition import Condition
from gen_jax.nets.layers import Dense, dropout, fold, remat, unfold
from gen_jax.types import Array, Cond, Entry

_SIZES = {  # width, depth, heads: table 1
  "S": (384, 12, 6),
  "B": (768, 12, 12),
  "L": (1024, 24, 16),
  "XL": (1152, 28, 16),
}


class DiT(nn.Module):
  """Transformer blocks over patches of the image, on a grid of any height and width.

  Attributes:
    out: output channels; None for as many as the input has.
    patch: side of a patch; divides the image.
    size: "S", "B", "L" or "XL" of the paper's table 1; what the next three are unless they are given.
    width: width of the tokens, a multiple of 4.
    depth: number of blocks.
    heads: attention heads; divides the width.
    ratio: width of the hidden layer of a block, in units of `width`.
    dropout: rate on what each branch of a block adds, when training.
    remat: recompute the inside of blocks on the way back rather than keep it: less memory for a third more time.
    conditions: what it is conditioned on beside the time.
    text_depth: blocks of the transformer that reads text, where there is some.
    dtype: compute dtype; parameters and outputs are float32.
  """

  out: int | None = None
  patch: int = 2
  size: Literal["S", "B", "L", "XL"] = "S"
  width: int | None = None
  depth: int | None = None
  heads: int | None = None
  ratio: int = 4
  dropout: float = 0.0
  remat: bool = False
  conditions: tuple[Entry, ...] = ()
  text_depth: int = 2
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, x: Array, time: Array, cond: Cond = None, hidden: Array | None = None, *, train: bool = False
  ) -> Array:
    """x [B, H, W, C], time [B] any reals of order one, cond and hidden as in `Condition` -> [B, H, W, out]."""
    of_size = zip((self.width, self.depth, self.heads), _SIZES[self.size], strict=True)
    width, depth, heads = (published if given is None else given for given, published in of_size)
    channels = (self.out or x.shape[-1]) * self.patch**2
    condition = Condition(width, 256, self.conditions, self.text_depth, self.dtype)
    told = condition(x, time, cond, hidden)
    h = fold(told.x, self.patch)
    _, height, columns, _ = grid = h.shape
    h = Dense(width, dtype=self.dtype)(h.reshape(grid[0], height * columns, -1))
    h = h + jnp.asarray(positions(height, columns, width), self.dtype)
    block = remat(Block, (4,)) if self.remat else Block
    for _ in range(depth):
      h = block(heads, self.ratio, self.dropout, self.dtype)(h, told.vector, told.tokens, train)
    shift, scale = _modulation(self, told.vector, 2, width)
    h = _norm(self)(h) * (1 + scale) + shift
    h = Dense(channels, dtype=self.dtype, kernel_init=nn.initializers.zeros_init())(h)
    return unfold(h.reshape(*grid[:3], channels), self.patch).astype(jnp.float32)


class Block(nn.Module):
  """Self-attention, attention to the tokens of the condition if there are any, and an MLP; it starts at the identity.

  Self-attention and MLP are adaLN-zero, h + gate f((1 + scale) norm(h) + shift), with all three numbers per channel
  linear in the condition's vector (2212.09748, section 3.2). Tokens are attended to between them, as in 2310.00426.

  Attributes:
    heads: attention heads.
    ratio: width of the hidden layer, in units of that of the tokens.
    dropout: rate on what each branch adds, when training.
    dtype: compute dtype.
  """

  heads: int
  ratio: int = 4
  dropout: float = 0.0
  dtype: str = "float32"

  @nn.compact
  def __call__(self, h: Array, vector: Array, tokens: Tokens | None = None, train: bool = False) -> Array:
    """h [B, T, C], vector [B, E], tokens of the condition -> [B, T, C]."""
    width = h.shape[-1]
    init = nn.initializers.xavier_uniform()
    dense = lambda features: Dense(features, dtype=self.dtype, kernel_init=init)
    drop = lambda h: dropout(h, self.dropout, train)
    parts = _modulation(self, vector, 6, width)
    shift, scale, gate = parts[:3]
    g = _norm(self)(h) * (1 + scale) + shift
    h = h + gate * drop(MultiHead(self.heads, init, dtype=self.dtype)(g))
    if tokens is not None:
      g = nn.LayerNorm(dtype=self.dtype)(h)
      h = h + drop(MultiHead(self.heads, zero=True, dtype=self.dtype)(g, *tokens))
    shift, scale, gate = parts[3:]
    g = nn.gelu(dense(self.ratio * width)(_norm(self)(h) * (1 + scale) + shift))
    return h + gate * drop(dense(width)(g))


def positions(height: int, width: int, features: int) -> np.ndarray:
  """cos and sin of the row and of the column of each place, a quarter of the features each: [height width, features].

  Frequencies fall geometrically from 1 to nearly 1 / 10,000 radians per place (1706.03762, section 3.5).
  """
  frequency = 1e-4 ** (np.arange(features // 4) / (features // 4))
  row, column = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
  angles = [axis.reshape(-1, 1) * frequency for axis in (row, column)]
  return np.concatenate([wave(a) for a in angles for wave in (np.cos, np.sin)], axis=-1)


def _norm(module: nn.Module) -> nn.Module:
  """Layer normalisation whose gain and shift come from the condition."""
  return nn.LayerNorm(epsilon=1e-6, use_scale=False, use_bias=False, dtype=module.dtype)


def _modulation(module: nn.Module, vector: Array, parts: int, width: int) -> list[Array]:
  """`parts` arrays [B, 1, width], linear in the vector and zero at the start."""
  h = Dense(parts * width, dtype=module.dtype, kernel_init=nn.initializers.zeros_init())(vector)
  return jnp.split(h[:, None], parts, axis=-1)
