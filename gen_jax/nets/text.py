"""A transformer that reads text byte by byte, trained jointly with the network that it tells of it."""

import flax.linen as nn
import jax.numpy as jnp

from gen_jax.nets.attention import MultiHead, Tokens
from gen_jax.nets.layers import Dense, Layer
from gen_jax.types import Array


class Text(Layer):
  """Bytes, with a learned position each, through pre-norm transformer blocks (1706.03762; 2002.04745, figure 1b).

  A first token of its own stands before the text. It is all there is of a text that is hidden.

  Attributes:
    features: width of the tokens.
    depth: number of blocks.
    heads: attention heads; divides `features`.
    dtype: compute dtype.
  """

  features: int
  depth: int = 2
  heads: int = 4
  dtype: str = "float32"

  @nn.compact
  def __call__(self, text: Array, hidden: Array) -> Tokens:
    """text int [B, L], zeros where it is over; hidden bool [B] -> tokens [B, 1 + L, features]."""
    dense = lambda features, h: Dense(features, dtype=self.dtype)(h)
    norm = lambda h: nn.LayerNorm(dtype=self.dtype)(h)
    text = jnp.pad(text, ((0, 0), (1, 0)))  # no text holds a zero: here it is the first token
    seen = (text != 0) & ~hidden[:, None]
    seen = seen.at[:, 0].set(True)
    h = nn.Embed(256, self.features, dtype=self.dtype)(text)
    init = nn.initializers.normal(0.02)
    h = h + self.param("positions", init, (text.shape[1], self.features)).astype(self.dtype)
    for _ in range(self.depth):
      h = h + MultiHead(self.heads, dtype=self.dtype)(norm(h), seen=seen)
      h = h + dense(self.features, nn.gelu(dense(4 * self.features, norm(h))))
    return Tokens(norm(h), seen)
