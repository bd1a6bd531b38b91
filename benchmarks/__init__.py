"""Speed beside peers. `make bench`, or `python -m benchmarks [PART OF A NAME]`."""

import os

# Before JAX is imported: on a GPU it would take most of the memory, and PyTorch has to live beside it.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
