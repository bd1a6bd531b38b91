"""Where real data may be found."""

import os
import pathlib

import pytest


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
  """A folder with real data sets: $GEN_JAX_DATA, or shared/data beside the repository."""
  beside = pathlib.Path(__file__).parents[3] / "shared" / "data"
  folder = pathlib.Path(os.environ.get("GEN_JAX_DATA", beside))
  if not folder.is_dir():
    pytest.skip(f"no real data in {folder}: set GEN_JAX_DATA to the folder that has them")
  return folder
