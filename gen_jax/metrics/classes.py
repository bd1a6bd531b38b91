"""What a classifier makes of samples: how sure it is, and how evenly they cover its classes."""

from typing import NamedTuple

import numpy as np


class Classes(NamedTuple):
  """What was counted.

  Attributes:
    confident: share of the samples on whose class the classifier is at least `sure` sure.
    shares: share of the samples in each class, [C].
  """

  confident: float
  shares: np.ndarray


def classes(probabilities: np.ndarray, sure: float = 0.9) -> Classes:
  """The confidence and the balance of samples with class probabilities [N, C]."""
  p = np.asarray(probabilities)
  shares = np.bincount(p.argmax(1), minlength=p.shape[1]) / len(p)
  return Classes(float((p.max(1) >= sure).mean()), shares)
