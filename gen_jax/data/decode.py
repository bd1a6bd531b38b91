"""Image files and encoded images -> uint8 arrays of one shape."""

from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP")
ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises on damaged files
_ORIENTATION, _SIDEWAYS = 0x0112, (5, 6, 7, 8)  # EXIF: these swap height and width


def measure(file: str | BinaryIO) -> tuple[int, int]:
  """(height, width) of an image as it is meant to be seen, from its header."""
  with Image.open(file, formats=FORMATS) as image:
    width, height = image.size
    if image.format == "PNG" and "exif" not in image.info:  # to look for it further on, Pillow would decode the pixels
      return height, width
    return (width, height) if image.getexif().get(_ORIENTATION) in _SIDEWAYS else (height, width)


def decode(file: str | BinaryIO, size: tuple[int, int], channels: int) -> np.ndarray:
  """An image file -> uint8 [height, width, channels]; transparency is dropped.

  Raises:
    one of ERRORS: the file is damaged, or has more than 8 bits a channel.
  """
  with Image.open(file, formats=FORMATS) as image:
    return fit(image, size, channels)


def fit(image: Image.Image, size: tuple[int, int], channels: int) -> np.ndarray:
  """Resizes the shorter side and crops the middle: the largest centred part of the wanted proportions fills the image.

  Args:
    image: any size, up to 8 bits a channel.
    size: (height, width).
    channels: 1 for grey, 3 for RGB.

  Returns:
    uint8 [height, width, channels], by a Lanczos filter that widens with the reduction, so that nothing aliases.
  """
  if image.mode[0] in "IF":
    raise ValueError("more than 8 bits a channel")
  image = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
  height, width = size
  if image.size != (width, height):
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    box = (left, top, left + scale * width, top + scale * height)
    image = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
  return np.asarray(image, np.uint8).reshape(height, width, channels)
