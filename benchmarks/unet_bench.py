"""A U-Net at 32x32x3: a training step, and 10 DDIM steps; on an accelerator with larger batches, in bfloat16 too.

Peer: diffusers.UNet2DModel (0.42) in PyTorch, channels-last, of the same architecture: the same widths, blocks,
heads, attention at 16x16 and in the middle, scale and shift by the time; that both have as many parameters, to 2%, is
checked.
"""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from benchmarks import peers
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
_STEPS = 10  # of DDIM
_PEER = "diffusers"


def rows(name: str) -> Iterator[Row]:
  """Yields the rows whose name has `name` in it."""
  train, sample = peers.sized(32, 256), peers.sized(16, 256)
  works = {
    f"U-Net training step, 32x32x3, batch {train}": functools.partial(_training, train),
    f"U-Net, DDIM {_STEPS} steps, batch {sample}": functools.partial(_sampling, sample),
  }
  for work, build in works.items():
    for dtype in peers.precisions():
      if name in f"{work}, {dtype}":
        yield _row(f"{work}, {dtype}", dtype, *build(dtype))


def _row(work: str, dtype: str, ours: Work, flops: float, params: PyTree, peer: Callable) -> Row:
  if peers.missing("diffusers", "torch"):
    return alone(work, ours, flops=flops, dtype=dtype, note=f"{_PEER} (not installed)")
  net = _peer_net()
  theirs = sum(p.numel() for p in net.parameters())
  if abs(count(params) / theirs - 1) > 0.02:
    raise AssertionError(f"not the same network: {count(params)} parameters against {theirs}")
  return compare(work, ours, _PEER, peer(net), runs=peers.sized(5, 20), flops=flops, dtype=dtype)


def _family(dtype: str) -> Diffusion:
  """Ten evaluations of the network: nine steps and the last denoising."""
  return Diffusion(
    spec=_SPEC,
    net=UNet(channels=64, multipliers=(1, 2, 2), blocks=2, attention=(1,), heads=4, dtype=dtype),
    path=gaussian.linear(),
    prediction=prediction.eps(),
    solver=semilinear.ddim(),
    grid=grids.linear(),
    steps=_STEPS - 1,
    ema_decay=None,
    optimizer=Optimizer(lr=1e-4),
  )


def _training(size: int, dtype: str):
  """(our training step, its FLOPs, the parameters, the peer's: a function of its network)."""
  family, key = _family(dtype), jax.random.key(0)
  batch = {"x": jax.random.uniform(key, (size, *_SPEC.shape), minval=-1.0)}
  state = jax.jit(family.init)(key, batch)
  flops = 3 * _forward_flops(family, state.params, size)
  step = compiling.jit(family.step, donate_argnums=1)
  params = jax.tree.map(jnp.copy, state.params)  # the first step takes the state's own

  def ours():
    nonlocal state
    state, metrics = step(key, state, batch)
    return metrics["loss"]

  return ours, flops, params, functools.partial(_peer_training, size, dtype)


def _sampling(size: int, dtype: str):
  family, key = _family(dtype), jax.random.key(0)
  params = jax.jit(family.init)(key, {"x": jnp.zeros((1, *_SPEC.shape))}).params
  sample = compiling.jit(family.sample, static_argnums=2)
  flops = _STEPS * _forward_flops(family, params, size)
  ours = functools.partial(sample, key, params, size)
  return ours, flops, params, functools.partial(_peer_sampling, size, dtype)


def _forward_flops(family: Diffusion, params: PyTree, batch: int) -> float:
  x = jax.ShapeDtypeStruct((batch, *_SPEC.shape), jnp.float32)
  net = family.net.clone(dtype="float32")  # whose products are all there to be counted: no fused kernel
  return textbook_flops(net.apply, params, x, jax.ShapeDtypeStruct((batch,), jnp.float32))


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
  return net.to(peers.device(), memory_format=torch.channels_last)


def _peer_training(size: int, dtype: str, net) -> Work:
  import torch

  device = peers.device()
  x = torch.rand(size, 3, 32, 32, device=device).to(memory_format=torch.channels_last) * 2 - 1
  betas = torch.linspace(1e-4, 0.02, 1000, device=device)
  alphas = torch.cumprod(1 - betas, 0)
  optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

  def step():
    t = torch.randint(1000, (size,), device=device)
    noise, scale = torch.randn_like(x), alphas[t][:, None, None, None]
    noisy = scale.sqrt() * x + (1 - scale).sqrt() * noise
    with peers.autocast(dtype):
      out = net(noisy, t).sample
    loss = torch.nn.functional.mse_loss(out.float(), noise)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), float("inf"))  # our step reports the norm of the gradient as well
    optimizer.step()
    return loss.item()

  return step


def _peer_sampling(size: int, dtype: str, net) -> Work:
  import torch
  from diffusers import DDIMScheduler

  net, scheduler = net.to(getattr(torch, dtype)), DDIMScheduler(1000, clip_sample=False)
  scheduler.set_timesteps(_STEPS)

  @torch.inference_mode()
  def sample():
    x = torch.randn(size, 3, 32, 32, device=peers.device(), dtype=net.dtype).to(memory_format=torch.channels_last)
    for t in scheduler.timesteps:
      x = scheduler.step(net(x, t).sample, t, x).prev_sample
    return x.float().cpu()

  return sample
