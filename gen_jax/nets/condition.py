"""How a denoising network is conditioned on the time and on anything else; the same for every network.

There are three ways in: a vector that every block is told (time, labels), tokens that are attended to
(text, embeddings, boxes), and planes beside the channels of the input (images, maps). Each kind of condition goes one
way, and each has a learned null: what the network sees in its place where it is hidden.
"""

import functools
import operator
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.nets.attention import Tokens
from gen_jax.nets.layers import Dense, Layer, fourier
from gen_jax.nets.text import Text
from gen_jax.types import Array, Cond, Entry

_PLANES = 8  # channels that embed the class of a pixel
_WAVES = 16  # Fourier features of each coordinate of a box


class Told(NamedTuple):
  """What a network reads.

  Attributes:
    x: [B, ..., C + planes], its input with the images and maps beside its channels.
    vector: [B, features], the time and the labels; None where there is neither.
    tokens: what to attend to, `features` wide; None where there is nothing of the kind.
  """

  x: Array
  vector: Array | None
  tokens: Tokens | None


class Condition(nn.Module):
  """Tells a network its conditions.

  Attributes:
    features: size of the vector and width of the tokens.
    waves: size of the Fourier embedding of the time; 0 for a network that sees to the time itself.
    entries: what there is to tell beside the time.
    text_depth: blocks of the transformer that reads text.
    dtype: compute dtype.
  """

  features: int
  waves: int
  entries: tuple[Entry, ...] = ()
  text_depth: int = 2
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Array, time: Array, cond: Cond = None, hidden: Array | None = None) -> Told:
    """x [B, ...], time [B] or [B, K]; cond: a row per example for each of `entries`, None for none; hidden
    bool [B]: the examples without their conditions, none by default.

    Raises:
      InputError: a condition of a kind that there is no way in for.
    """
    told = {"vector": [], "tokens": [], "planes": [x]}
    if self.waves:
      h = fourier(time, self.waves).astype(self.dtype)
      h = Dense(self.features, dtype=self.dtype)(h)
      told["vector"].append(Dense(self.features, dtype=self.dtype)(nn.silu(h)))
    if self.entries and cond is None:
      cond = {e.name: jnp.zeros((len(x), *e.shape), e.dtype) for e in self.entries}
      hidden = jnp.ones(len(x), bool)
    for entry in self.entries:
      hidden = jnp.zeros(len(x), bool) if hidden is None else hidden
      if entry.kind not in _KINDS:
        raise InputError(f"conditions: {entry.name!r} is a {entry.kind}, which no network takes: leave it out")
      way, module = _KINDS[entry.kind]
      tell = module(entry, self.features, self.text_depth, self.dtype, name=entry.name)
      told[way].append(tell(cond[entry.name], hidden))
    planes = [_resize(p.astype(x.dtype), x.shape) for p in told["planes"]]
    tokens = [jnp.concatenate(parts, axis=1) for parts in zip(*told["tokens"], strict=True)]
    return Told(
      x=jnp.concatenate(planes, axis=-1) if len(planes) > 1 else x,
      vector=nn.silu(functools.reduce(operator.add, told["vector"])) if told["vector"] else None,
      tokens=Tokens(*tokens) if tokens else None,
    )


class _Kind(Layer):
  """One kind of condition: called with its value and with `hidden`, bool [B]."""

  entry: Entry
  features: int
  text_depth: int
  dtype: str


class _Label(_Kind):
  """An embedding for each class and one for the null."""

  @nn.compact
  def __call__(self, label: Array, hidden: Array) -> Array:
    null = self.entry.size
    return nn.Embed(null + 1, self.features, dtype=self.dtype)(jnp.where(hidden, null, label))


class _Text(_Kind):
  """Bytes through a transformer."""

  @nn.compact
  def __call__(self, text: Array, hidden: Array) -> Tokens:
    return Text(self.features, self.text_depth, dtype=self.dtype)(text, hidden)


class _Vectors(_Kind):
  """Embeddings of tokens that were made elsewhere; zero vectors are none."""

  @nn.compact
  def __call__(self, vectors: Array, hidden: Array) -> Tokens:
    value = Dense(self.features, dtype=self.dtype)(nn.LayerNorm(dtype=self.dtype)(vectors))
    return _after_null(self, value, (vectors != 0).any(-1) & ~hidden[:, None])


class _Boxes(_Kind):
  """A token for each box that has an area: its class, and the place of its sides as waves (2301.07093, eq. 4)."""

  @nn.compact
  def __call__(self, boxes: Array, hidden: Array) -> Tokens:
    label, sides = boxes[..., 0].astype(jnp.int32), boxes[..., 1:]
    place = fourier(sides.reshape(-1), _WAVES, low=0.5, high=16.0).reshape(*boxes.shape[:2], -1)
    h = nn.Embed(self.entry.size, self.features, dtype=self.dtype)(label)
    h = jnp.concatenate([h, place.astype(self.dtype)], axis=-1)
    h = nn.silu(Dense(self.features, dtype=self.dtype)(h))
    h = Dense(self.features, dtype=self.dtype)(h)
    full = (sides[..., 2] > sides[..., 0]) & (sides[..., 3] > sides[..., 1])
    return _after_null(self, h, full & ~hidden[:, None])


class _Image(_Kind):
  """The image, and a plane that is one where it is hidden, from which the first layer learns a null."""

  def __call__(self, image: Array, hidden: Array) -> Array:
    hidden = hidden[:, None, None, None]
    return jnp.concatenate([jnp.where(hidden, 0.0, image), jnp.broadcast_to(hidden, (*image.shape[:3], 1))], -1)


class _Map(_Kind):
  """An embedding for the class of each pixel and one for the null."""

  @nn.compact
  def __call__(self, classes: Array, hidden: Array) -> Array:
    null = self.entry.size
    return nn.Embed(null + 1, _PLANES, dtype=self.dtype)(jnp.where(hidden[:, None, None], null, classes))


_KINDS = {
  "label": ("vector", _Label),
  "text": ("tokens", _Text),
  "vectors": ("tokens", _Vectors),
  "boxes": ("tokens", _Boxes),
  "image": ("planes", _Image),
  "map": ("planes", _Map),
}


def _after_null(module: Layer, value: Array, seen: Array) -> Tokens:
  """Tokens after a learned one that is always seen, and the only one where all others are hidden."""
  null = module.param("null", nn.initializers.normal(1.0), (value.shape[-1],)).astype(value.dtype)
  value = jnp.concatenate([jnp.broadcast_to(null, (len(value), 1, len(null))), value], axis=1)
  return Tokens(value, jnp.pad(seen, ((0, 0), (1, 0)), constant_values=True))


def _resize(planes: Array, shape: tuple[int, ...]) -> Array:
  """Planes [B, h, w, C] at the size of an input of this shape."""
  size = (*shape[:-1], planes.shape[-1])
  return planes if planes.shape == size else jax.image.resize(planes, size, "linear")
