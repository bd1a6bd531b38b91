"""A model of codes: what the prior is given, what is decoded, and that the autoencoder stays as it is."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import resolve
from gen_jax.data.digits import Digits
from gen_jax.errors import InputError
from gen_jax.families.latent import Latent
from gen_jax.family import HasDenoiser, HasLatents, State
from gen_jax.types import Spec

KEY = jax.random.key(0)
SPEC = Spec(shape=(4, 4, 1), kind="image", classes=3, levels=256)


@dataclasses.dataclass(frozen=True)
class Halves:
  """Codes are the left and the right half of an image, as channels, times a parameter."""

  spec: Spec = SPEC

  def encode(self, key, params, x):
    return params["scale"] * jnp.concatenate([x[:, :, :2], x[:, :, 2:]], axis=-1)

  def decode(self, key, params, z):
    return jnp.concatenate([z[..., :1], z[..., 1:]], axis=2) / params["scale"]


@dataclasses.dataclass(frozen=True)
class Means:
  """Remembers the mean of every class, and draws that."""

  spec: Spec
  average: bool = True

  conditions = ("label",)
  evaluations = 7

  def init(self, key, batch):
    params = {"mean": jnp.zeros((self.spec.classes, *self.spec.shape))}
    return State(jnp.int32(0), params, (), params if self.average else None, {"seen": jnp.zeros(())})

  def step(self, key, state, batch):
    one_hot = jax.nn.one_hot(batch["label"], self.spec.classes)
    mean = jnp.einsum("bk,bhwc->khwc", one_hot, batch["x"]) / one_hot.sum(0)[:, None, None, None]
    ema = jax.tree.map(lambda a, m: a / 2 + m / 2, state.ema, {"mean": mean}) if self.average else None
    extra = {"seen": state.extra["seen"] + len(batch["x"])}
    return state.replace(step=state.step + 1, params={"mean": mean}, ema=ema, extra=extra), {"loss": mean.sum()}

  def sample(self, key, params, num, cond=None):
    return params["mean"][cond["label"]]


def run(family, **params):
  return types.SimpleNamespace(family=family, params=jax.tree.map(jnp.float32, params))


def latent(prior=Means, autoencoder=None, spec=SPEC):
  return Latent(spec=spec, autoencoder=autoencoder or run(Halves(), scale=3.0), prior=prior)


def test_the_prior_is_given_the_spec_of_the_codes():
  family = latent()
  assert family.inner.spec == Spec(shape=(4, 2, 2), kind="vector", classes=3)
  assert family.conditions == ("label",) and family.evaluations == 7
  assert isinstance(family, HasLatents)
  assert not isinstance(family, HasDenoiser), "a denoiser of codes is none of images"


@pytest.mark.parametrize("average", [True, False])
def test_training_is_the_priors_on_codes_and_samples_are_decoded(average):
  family = latent(lambda spec: Means(spec, average))
  x, label = jax.random.normal(KEY, (30, *SPEC.shape)), jnp.arange(30) % 3
  batch = {"x": x, "label": label}
  state = jax.jit(family.init)(KEY, batch)
  before = state.params["autoencoder"]["scale"].copy()
  step = jax.jit(family.step, donate_argnums=1)
  structure = jax.tree.structure(state)
  state, metrics = step(KEY, state, batch)
  assert jax.tree.structure(state) == structure and int(state.step) == 1
  means = np.stack([np.asarray(x)[np.asarray(label) == k].mean(0) for k in range(3)])
  wanted = 3.0 * np.concatenate([means[:, :, :2], means[:, :, 2:]], -1)
  np.testing.assert_allclose(state.params["prior"]["mean"], wanted, rtol=1e-4, atol=1e-5)
  assert metrics["loss"] == pytest.approx(wanted.sum(), rel=1e-4)
  drawn = jax.jit(family.sample, static_argnums=2)(KEY, state.eval_params, 3, {"label": jnp.array([2, 0, 1])})
  np.testing.assert_allclose(drawn, means[[2, 0, 1]] / (2 if average else 1), rtol=1e-4, atol=1e-5)
  for params in (state.params, state.eval_params):
    assert params["autoencoder"]["scale"] == before == 3.0
  assert family.frozen == ("autoencoder",) and state.extra["seen"] == 30


def test_what_does_not_fit_is_refused():
  with pytest.raises(InputError, match=r"autoencoder: its data have the shape \(4, 4, 1\), these \(8, 8, 1\)"):
    latent(spec=Digits().spec)
  with pytest.raises(InputError, match=r"autoencoder: Means has no latents: choose a run of autoencoder.Autoencoder"):
    latent(autoencoder=run(Means(SPEC)))
  vectors = run(Halves(dataclasses.replace(SPEC, kind="vector")), scale=1.0)
  with pytest.raises(InputError, match=r"autoencoder: its data are of the kind 'vector', these 'image'"):
    latent(autoencoder=vectors)


def made(prior, **autoencoder):
  spec = dict(name="latent.Latent", autoencoder=run(Halves(), scale=1.0), prior=prior) | autoencoder
  return resolve.build("families", spec, spec=SPEC)


def test_priors_come_from_configs():
  net = dict(name="unet.UNet", channels=8, multipliers=(1,), blocks=1, attention=())
  family = made(dict(name="diffusion.Diffusion", net=net, conditions=("label",)))
  assert family.inner.spec.shape == (4, 2, 2) and family.inner.net.channels == 8
  dit = made(dict(name="flow_matching.FlowMatching", net=dict(name="dit.DiT", patch=2, width=16, depth=1, heads=2)))
  assert dit.conditions == ()
  made(dict(name="gan.GAN", turns=2))  # whose steps cut a batch in two, not the one that its codes are tried with


def test_a_config_shows_all_of_a_prior_but_its_spec():
  short = dict(name="latent.Latent", autoencoder=dict(name="load.load", workdir="runs/a"), prior="vae.VAE")
  full = resolve.complete("families", short, given=("spec",))
  assert full["prior"]["name"] == "vae.VAE" and full["prior"]["latent"] == 50 and "spec" not in full["prior"]
  assert resolve.complete("families", full, given=("spec",)) == full, "completing twice changes nothing"
  with pytest.raises(InputError, match=r"prior \(vae.VAE\) has no field 'latnet': did you mean 'latent'"):
    resolve.complete("families", {**short, "prior": dict(name="vae.VAE", latnet=2)}, given=("spec",))
  with pytest.raises(InputError, match=r"prior has no default: set it"):
    resolve.complete("families", {k: short[k] for k in ("name", "autoencoder")}, given=("spec",))


def test_priors_that_cannot_model_codes_are_refused():
  with pytest.raises(InputError, match=r"prior, of codes \(4, 2, 2\): discrete diffusion is for images with levels"):
    made("discrete_diffusion.DiscreteDiffusion")
  with pytest.raises(InputError, match=r"prior, of codes .*: conditions: these data have no 'caption'"):
    made(dict(name="diffusion.Diffusion", conditions=("caption",)))
  with pytest.raises(InputError, match=r"prior: its network cannot take codes \(4, 2, 2\): choose one for grids"):
    made(dict(name="diffusion.Diffusion", net="mlp.TimeMLP"))
  with pytest.raises(InputError, match=r"no run in nowhere .*: train one with --config"):
    made("vae.VAE", autoencoder=dict(name="load.load", workdir="nowhere"))
