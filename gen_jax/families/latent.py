"""Any family, as a model of the codes of another run: with diffusion, latent diffusion."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from gen_jax.errors import InputError
from gen_jax.family import Family, HasLatents, State
from gen_jax.resolve import part
from gen_jax.types import Array, Batch, Cond, Key, Metrics, PyTree, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latent:
  """A model of codes, whose samples are decoded: arXiv:2112.10752, section 3.2.

  Every step encodes its batch anew, augmentations, draws of the code and all, and is one of the prior's. Conditions,
  moving averages and what is minimised are the prior's as well. It has no denoiser and no likelihood: the prior's,
  `inner.denoiser(params["prior"])`, are those of codes.

  Attributes:
    spec: the data.
    autoencoder: the run that encodes them, with latents: dict(name="load.load", workdir="runs/..."). Its parameters are
      copied into those of this model, where no step touches them.
    prior: the family that models the codes: dict(name="diffusion.Diffusion", ...).

  Raises:
    InputError: the run has no latents, or is of other data; or the prior cannot model the codes.
  """

  spec: Spec
  autoencoder: Any = part("run")
  prior: Callable[..., Family] = part("families", given=("spec",))

  frozen: ClassVar[tuple[str, ...]] = ("autoencoder",)  # the entries of the parameters that training leaves as they are

  def __post_init__(self):
    family = self.autoencoder.family
    if not isinstance(family, HasLatents):
      raise InputError(f"autoencoder: {type(family).__name__} has no latents: choose a run of autoencoder.Autoencoder")
    if family.spec.shape != self.spec.shape:
      raise InputError(f"autoencoder: its data have the shape {family.spec.shape}, these {self.spec.shape}")
    if family.spec.kind != self.spec.kind:
      raise InputError(f"autoencoder: its data are of the kind {family.spec.kind!r}, these {self.spec.kind!r}")
    self._check_prior()

  @functools.cached_property
  def code(self) -> Spec:
    """What the prior models: real numbers, on a grid where the autoencoder's codes have one."""
    image = jax.ShapeDtypeStruct((1, *self.spec.shape), jnp.float32)
    code = jax.eval_shape(self.autoencoder.family.encode, jax.random.key(0), self.autoencoder.params, image)
    return dataclasses.replace(self.spec, shape=code.shape[1:], kind="vector", levels=0)

  @functools.cached_property
  def inner(self) -> Family:
    """The model of the codes."""
    return self.prior(spec=self.code)

  @property
  def conditions(self) -> tuple[str, ...]:
    """The prior's."""
    return self.inner.conditions

  @property
  def evaluations(self) -> int | None:
    """Network evaluations per image: the prior's; the decoder's only one is not counted."""
    return self.inner.evaluations

  def init(self, key: Key, batch: Batch) -> State:
    """The state before the first step: the prior's, with the autoencoder beside its parameters."""
    key_code, key_prior = jax.random.split(key)
    prior = self.inner.init(key_prior, self._encoded(key_code, self.autoencoder.params, batch))
    beside = lambda params: {"prior": params, "autoencoder": jax.tree.map(jnp.copy, self.autoencoder.params)}
    return prior.replace(params=beside(prior.params), ema=None if prior.ema is None else beside(prior.ema))

  def step(self, key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One step of the prior on the codes of `batch`."""
    key_code, key_prior = jax.random.split(key)
    codes = self._encoded(key_code, state.params["autoencoder"], batch)
    prior = state.replace(params=state.params["prior"], ema=state.ema and state.ema["prior"])
    prior, metrics = self.inner.step(key_prior, prior, codes)
    ema = state.ema and {**state.ema, "prior": prior.ema}
    return prior.replace(params={**state.params, "prior": prior.params}, ema=ema), metrics

  def sample(self, key: Key, params: PyTree, num: int, cond: Cond = None) -> Array:
    """`num` samples, [num, *shape]: the prior's, decoded."""
    key_code, key_x = jax.random.split(key)
    return self.decode(key_x, params, self.inner.sample(key_code, params["prior"], num, cond))

  def encode(self, key: Key, params: PyTree, x: Array) -> Array:
    """The autoencoder's code of x, [B, *code.shape]."""
    return self.autoencoder.family.encode(key, params["autoencoder"], x)

  def decode(self, key: Key, params: PyTree, z: Array) -> Array:
    """The autoencoder's data of a code z [B, *code.shape], [B, *shape]."""
    return self.autoencoder.family.decode(key, params["autoencoder"], z)

  def _encoded(self, key: Key, autoencoder: PyTree, batch: Batch) -> Batch:
    return {**batch, "x": self.autoencoder.family.encode(key, autoencoder, batch["x"])}

  def _check_prior(self):
    """Raises InputError for a prior that refuses the codes, here and not at the first step."""
    num = max(self.code.shape) + 1  # as no other size, so that nothing of a wrong shape fits by chance
    example = lambda shape, dtype: jax.ShapeDtypeStruct((num, *shape), dtype)
    batch = {"x": example(self.code.shape, "float32")}
    batch |= {name: example(entry.shape, entry.dtype) for name, entry in self.code.entries.items()}
    try:
      jax.eval_shape(self.inner.init, jax.random.key(0), batch)
    except InputError as e:
      raise InputError(f"prior, of codes {self.code.shape}: {e}") from None
    except (TypeError, ValueError) as e:  # what arrays of a shape that a network was not made for end in
      kind = "grids, such as unet.UNet" if len(self.code.shape) > 1 else "vectors, such as mlp.TimeMLP"
      raise InputError(f"prior: its network cannot take codes {self.code.shape}: choose one for {kind}") from e
