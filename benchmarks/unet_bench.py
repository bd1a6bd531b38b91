"""A U-Net at 32x32x3: a training step at batch 32, and 10 DDIM steps at batch 16.

Peer: diffusers.UNet2DModel (0.42) in PyTorch (2.13), channels-last, of the same architecture: the same widths, blocks,
heads, attention at 16x16 and in the middle, scale and shift by the time; that both have as many parameters is checked.
"""

import functools
import importlib.util

import jax
import jax.numpy as jnp

from benchmarks.timing import Row, Work, alone, compare, textbook_flops
from gen_jax.families.diffusion import Diffusion
from gen_jax.family import count
from gen_jax.nets.unet import UNet
from gen_jax.processes import gaussian, prediction
from gen_jax.run import compile as compiling
from gen_jax.solvers import grids, semilinear
from gen_jax.steps import Optimizer
from gen_jax.types import PyTree, Spec

_SPEC = Spec(shape=(32, 32, 3), kind="image", levels=256)
_STEPS, _TRAIN, _SAMPLE = 10, 32, 16  # DDIM steps, and batch sizes
_PEER = "diffusers"


def rows(name: str):
  """Yields the rows whose name has `name` in it."""
  works = {"U-Net training step, 32x32x3, batch 32": _training, "U-Net, DDIM 10 steps, batch 16": _sampling}
  for work, build in works.items():
    if name in work:
      yield _row(work, *build())


def _row(work: str, ours: Work, flops: float, params: PyTree, peer) -> Row:
  if importlib.util.find_spec("diffusers") is None or importlib.util.find_spec("torch") is None:
    return alone(work, ours, flops=flops, note=f"{_PEER} (not installed)")
  net = _peer_net()
  theirs = sum(p.numel() for p in net.parameters())
  if abs(count(params) / theirs - 1) > 0.02:
    raise AssertionError(f"not the same network: {count(params)} parameters against {theirs}")
  return compare(work, ours, _PEER, peer(net), flops=flops)


def _family() -> Diffusion:
  """Ten evaluations of the network: nine steps and the last denoising."""
  return Diffusion(
    spec=_SPEC,
    net=UNet(channels=64, multipliers=(1, 2, 2), blocks=2, attention=(1,), heads=4),
    path=gaussian.linear(),
    prediction=prediction.eps(),
    solver=semilinear.ddim(),
    grid=grids.linear(),
    steps=_STEPS - 1,
    ema_decay=None,
    optimizer=Optimizer(lr=1e-4),
  )


def _training():
  """(our training step, its FLOPs, the parameters, the peer's: a function of its network)."""
  family, key = _family(), jax.random.key(0)
  batch = {"x": jax.random.uniform(key, (_TRAIN, *_SPEC.shape), minval=-1.0)}
  state = jax.jit(family.init)(key, batch)
  flops = 3 * _forward_flops(family, state.params, _TRAIN)
  step = compiling.jit(family.step, donate_argnums=1)
  params = jax.tree.map(jnp.copy, state.params)  # the first step takes the state's own

  def ours():
    nonlocal state
    state, metrics = step(key, state, batch)
    return metrics["loss"]

  return ours, flops, params, _peer_training


def _sampling():
  family, key = _family(), jax.random.key(0)
  params = jax.jit(family.init)(key, {"x": jnp.zeros((1, *_SPEC.shape))}).params
  sample = compiling.jit(family.sample, static_argnums=2)
  flops = _STEPS * _forward_flops(family, params, _SAMPLE)
  return functools.partial(sample, key, params, _SAMPLE), flops, params, _peer_sampling


def _forward_flops(family: Diffusion, params: PyTree, batch: int) -> float:
  x = jax.ShapeDtypeStruct((batch, *_SPEC.shape), jnp.float32)
  return textbook_flops(family.net.apply, params, x, jax.ShapeDtypeStruct((batch,), jnp.float32))


def _peer_net():
  import torch
  from diffusers import UNet2DModel

  net = UNet2DModel(
    sample_size=32,
    in_channels=3,
    out_channels=3,
    layers_per_block=2,
    block_out_channels=(64, 128, 128),
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=32,
    resnet_time_scale_shift="scale_shift",
  )
  return net.to(_peer_device(), memory_format=torch.channels_last)


def _peer_device() -> str:
  return "cpu" if jax.default_backend() == "cpu" else "cuda"


def _peer_training(net) -> Work:
  import torch

  device = _peer_device()
  x = torch.rand(_TRAIN, 3, 32, 32, device=device).to(memory_format=torch.channels_last) * 2 - 1
  betas = torch.linspace(1e-4, 0.02, 1000, device=device)
  alphas = torch.cumprod(1 - betas, 0)
  optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

  def step():
    t = torch.randint(1000, (_TRAIN,), device=device)
    noise, scale = torch.randn_like(x), alphas[t][:, None, None, None]
    loss = torch.nn.functional.mse_loss(net(scale.sqrt() * x + (1 - scale).sqrt() * noise, t).sample, noise)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), float("inf"))  # our step reports the norm of the gradient as well
    optimizer.step()
    return loss.item()

  return step


def _peer_sampling(net) -> Work:
  import torch
  from diffusers import DDIMScheduler

  scheduler = DDIMScheduler(1000, clip_sample=False)
  scheduler.set_timesteps(_STEPS)

  @torch.inference_mode()
  def sample():
    x = torch.randn(_SAMPLE, 3, 32, 32, device=_peer_device()).to(memory_format=torch.channels_last)
    for t in scheduler.timesteps:
      x = scheduler.step(net(x, t).sample, t, x).prev_sample
    return x.cpu()

  return sample
