"""Trains, samples or evaluates a model.

    python launch.py --config=configs/diffusion_digits.py --workdir=runs/digits
    python launch.py --mode=sample --workdir=runs/digits --num=256 --cond=label=3
    python launch.py --mode=eval --workdir=runs/digits

Any field of the config can be set, as in --config.train.steps=500.
"""

import sys

from gen_jax.run import command, memory

if __name__ == "__main__":
  memory.huge_pages()
  memory.rare_collections()
  sys.exit(command.main(sys.argv[1:], __doc__))
