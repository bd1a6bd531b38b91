"""Tests run on the CPU, with the compilation cache that users have, and programs that are made quickly.

On a GPU: `JAX_PLATFORMS=cuda python -m pytest tests`.
"""

import os
import pathlib
import tarfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if os.environ["JAX_PLATFORMS"] != "cpu":  # a GPU rounds products of float32 to TF32, which tests do not allow for
  os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# most of what tests do is compiling, which takes half the time like this
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=1"


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
  """A folder with real data sets: $GEN_JAX_DATA, or shared/data beside the repository."""
  folder = pathlib.Path(os.environ.get("GEN_JAX_DATA", ROOT.parent / "shared" / "data"))
  if not folder.is_dir():
    pytest.skip(f"no real data in {folder}: set GEN_JAX_DATA to the folder that has them")
  return folder


@pytest.fixture(scope="session")
def cifar10_test(real_data, tmp_path_factory) -> pathlib.Path:
  """A folder of images whose test split, and training split, are the test images of a part of CIFAR-10."""
  path = real_data / "cifar10_subset" / "cifar10_subset.tar"
  if not path.is_file():
    pytest.skip(f"no {path}")
  folder = tmp_path_factory.mktemp("cifar10")
  with tarfile.open(path) as archive:  # one by one: extractall is to have a filter, which early 3.11 does not know
    for member in archive:
      if member.isfile() and member.name.startswith("cifar10/test/"):
        image = folder / member.name.removeprefix("cifar10/")
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(archive.extractfile(member).read())
  (folder / "train").symlink_to(folder / "test")
  return folder


@pytest.fixture(scope="session")
def on_cpu():
  """For tests of what is only done, or can only be had, on the CPU."""
  if os.environ["JAX_PLATFORMS"] != "cpu":
    pytest.skip(f"of the CPU: JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}")


@pytest.fixture(scope="module", autouse=True)
def few_programs():
  """Lets compiled programs go once they fill half of the areas of memory that Linux allows a process."""
  yield
  areas = pathlib.Path("/proc/self/maps")
  if areas.exists() and areas.read_bytes().count(b"\n") > 30_000:
    import jax  # not above: it reads the environment

    jax.clear_caches()
