"""The IDX format of the MNIST family: a magic number, the sizes of each axis, then the values, all big-endian."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from gen_jax.errors import InputError

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read(path: Path) -> np.ndarray:
  """The array in a gz-compressed IDX file.

  Raises:
    InputError: it is missing, damaged or no such file.
  """
  try:
    return parse(path.read_bytes(), str(path))
  except FileNotFoundError:
    raise InputError(f"{path} is missing: put the original file there") from None


def parse(data: bytes, origin: str) -> np.ndarray:
  """The array in the bytes of a gz-compressed IDX file, big-endian where its type has more than one byte.

  Args:
    data: content of the file.
    origin: where it came from, for messages.

  Raises:
    InputError: damaged, cut short, or not such a file.
  """
  try:
    data = gzip.decompress(data)
  except (OSError, EOFError, zlib.error) as e:
    raise InputError(f"{origin} is damaged ({e}): delete it and get it again") from None
  if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _DTYPES:
    raise InputError(f"{origin} is not an IDX file: get the original one")
  dtype, ndim = np.dtype(_DTYPES[data[2]]), data[3]
  head = 4 + 4 * ndim
  shape = struct.unpack(f">{ndim}I", data[4:head]) if len(data) >= head else None
  if shape is None or len(data) != head + math.prod(shape) * dtype.itemsize:
    raise InputError(f"{origin} has {len(data)} bytes, which is not what its header says: delete it and get it again")
  return np.frombuffer(data, dtype, offset=head).reshape(shape)
