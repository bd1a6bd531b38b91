"""DiT-S/2 (2212.09748) at 32x32x3: a training step; on an accelerator with a larger batch, in bfloat16 too.

Peer: the same network in PyTorch, written here: the same widths, blocks, heads and adaLN-zero, with its fused
attention and GELU; that both have as many parameters is checked.
"""

import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from benchmarks import peers
from benchmarks.timing import Row, Work, alone, compare, textbook_flops
from gen_jax.families.diffusion import Diffusion
from gen_jax.family import count
from gen_jax.nets.dit import DiT, positions
from gen_jax.processes import gaussian, prediction
from gen_jax.run import compile as compiling
from gen_jax.steps import Optimizer
from gen_jax.types import Spec

_SPEC = Spec(shape=(32, 32, 3), kind="image", levels=256)
_PATCH, _WIDTH, _DEPTH, _HEADS = 2, 384, 12, 6
_PEER = "the same in torch"


def rows(name: str) -> Iterator[Row]:
  """Yields the rows whose name has `name` in it."""
  batch = peers.sized(8, 256)
  for dtype in peers.precisions():
    work = f"DiT-S/{_PATCH} training step, 32x32x3, batch {batch}, {dtype}"
    if name in work:
      yield _row(work, batch, dtype)


def _row(work: str, batch: int, dtype: str) -> Row:
  ours, flops, size = _ours(batch, dtype)
  if peers.missing("torch"):
    return alone(work, ours, flops=flops, dtype=dtype, note=f"{_PEER} (not installed)")
  net = _peer_net()
  theirs = sum(p.numel() for p in net.parameters())
  if size != theirs:
    raise AssertionError(f"not the same network: {size} parameters against {theirs}")
  return compare(work, ours, _PEER, _peer(net, batch, dtype), runs=peers.sized(5, 20), flops=flops, dtype=dtype)


def _ours(size: int, dtype: str) -> tuple[Work, float, int]:
  """(the training step, its FLOPs, the number of parameters)."""
  family = Diffusion(
    spec=_SPEC,
    net=DiT(patch=_PATCH, size="S", dtype=dtype),
    path=gaussian.linear(),
    prediction=prediction.eps(),
    ema_decay=None,
    optimizer=Optimizer(lr=1e-4),
  )
  key = jax.random.key(0)
  batch = {"x": jax.random.uniform(key, (size, *_SPEC.shape), minval=-1.0)}
  state = jax.jit(family.init)(key, batch)
  time = jax.ShapeDtypeStruct((size,), jnp.float32)
  net = family.net.clone(dtype="float32")  # whose products are all there to be counted: no fused kernel
  flops, parameters = 3 * textbook_flops(net.apply, state.params, batch["x"], time), count(state.params)
  step = compiling.jit(family.step, donate_argnums=1)

  def ours():
    nonlocal state
    state, metrics = step(key, state, batch)
    return metrics["loss"]

  return ours, flops, parameters


def _peer_net():
  import torch
  from torch import nn
  from torch.nn import functional

  class Block(nn.Module):
    def __init__(self):
      super().__init__()
      self.modulation = nn.Linear(_WIDTH, 6 * _WIDTH)
      self.qkv, self.out = nn.Linear(_WIDTH, 3 * _WIDTH), nn.Linear(_WIDTH, _WIDTH)
      self.mlp = nn.Sequential(
        nn.Linear(_WIDTH, 4 * _WIDTH), nn.GELU(approximate="tanh"), nn.Linear(4 * _WIDTH, _WIDTH)
      )

    def forward(self, h, vector):
      shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.modulation(vector)[:, None].chunk(6, -1)
      split = lambda a: a.unflatten(-1, (_HEADS, -1)).transpose(1, 2)
      q, k, v = map(split, self.qkv(norm(h) * (1 + scale) + shift).chunk(3, -1))
      h = h + gate * self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
      return h + mlp_gate * self.mlp(norm(h) * (1 + mlp_scale) + mlp_shift)

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      side, pixels = _SPEC.shape[0] // _PATCH, _PATCH**2 * _SPEC.shape[2]
      self.time = nn.Sequential(nn.Linear(256, _WIDTH), nn.SiLU(), nn.Linear(_WIDTH, _WIDTH), nn.SiLU())
      self.patches, self.blocks = nn.Linear(pixels, _WIDTH), nn.ModuleList(Block() for _ in range(_DEPTH))
      self.modulation, self.out = nn.Linear(_WIDTH, 2 * _WIDTH), nn.Linear(_WIDTH, pixels)
      self.register_buffer("places", torch.tensor(positions(side, side, _WIDTH), dtype=torch.float32))
      self.register_buffer("waves", 2 * math.pi * torch.logspace(math.log10(1 / 32), math.log10(4.0), 128))

    def forward(self, x, time):
      angles = time[:, None] * self.waves
      vector = self.time(torch.cat([angles.cos(), angles.sin()], -1))
      h = self.patches(functional.pixel_unshuffle(x, _PATCH).flatten(2).mT) + self.places
      for block in self.blocks:
        h = block(h, vector)
      shift, scale = self.modulation(vector)[:, None].chunk(2, -1)
      h = self.out(norm(h) * (1 + scale) + shift)
      return functional.pixel_shuffle(h.mT.unflatten(-1, (x.shape[2] // _PATCH, -1)), _PATCH)

  norm = functools.partial(functional.layer_norm, normalized_shape=(_WIDTH,), eps=1e-6)
  return Net().to(peers.device())


def _peer(net, size: int, dtype: str) -> Work:
  import torch

  device = peers.device()
  x = torch.rand(size, 3, 32, 32, device=device) * 2 - 1
  optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

  def step():
    time = torch.rand(size, device=device)
    alpha, noise = torch.exp(-5 * time**2 - 0.05 * time), torch.randn_like(x)
    mix = lambda a, s: a[:, None, None, None] * x + s[:, None, None, None] * noise
    noisy = mix(alpha, (1 - alpha**2).sqrt())
    with peers.autocast(dtype):
      out = net(noisy, time)
    loss = torch.nn.functional.mse_loss(out.float(), noise)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), float("inf"))  # our step reports the norm of the gradient as well
    optimizer.step()
    return loss.item()

  return step
