"""Trains, samples or evaluates a model.

    python launch.py --config=configs/diffusion_digits.py:conditional --workdir=runs/x
    python launch.py --mode=sample --workdir=runs/x --num=256 --cond=label=3
    python launch.py --mode=eval --workdir=runs/x

":conditional" is one of the config's variants, which its docstring lists. Any field can be set, as in
--config.train.steps=500; all of them are in the config.json of a run.
"""

import sys

from gen_jax.run import command, memory

if __name__ == "__main__":
  memory.huge_pages()
  memory.rare_collections()
  command.leave(memory.one_stack(command.main, sys.argv[1:], __doc__))
