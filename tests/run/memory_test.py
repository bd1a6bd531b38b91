"""A process with huge pages: started anew once, and only where that changes something."""

import os
import re
import resource
import subprocess
import sys

import pytest

from gen_jax.run import memory

_SCRIPT = """
import os, pathlib, sys
before = os.environ.get("BEFORE")
os.environ.setdefault("BEFORE", str(os.getpid()))
from gen_jax.run import memory
memory.huge_pages()
block = b"x" * 2**28
print(before == str(os.getpid()), sys.argv[1:], os.environ["GLIBC_TUNABLES"])
print(pathlib.Path("/proc/self/smaps_rollup").read_text())
"""


@pytest.mark.skipif(
  not (memory._PAGES.exists() and "[madvise]" in memory._PAGES.read_text()), reason="huge pages are not for the asking"
)
def test_a_large_block_lies_on_huge_pages_of_the_same_process(tmp_path):
  script = tmp_path / "script.py"
  script.write_text(_SCRIPT)
  env = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}
  command = [sys.executable, script, "--a b", "c"]
  out = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
  assert out.startswith("True ['--a b', 'c'] glibc.malloc.tcache_count=7:glibc.malloc.hugetlb=1\n")
  assert int(re.search(r"AnonHugePages: +(\d+) kB", out)[1]) > 2**17


def test_it_leaves_the_process_alone_where_it_has_been_or_there_is_nothing_to_ask_for(tmp_path, monkeypatch):
  monkeypatch.setattr(os, "execv", lambda *args: pytest.fail("started anew"))
  pages = tmp_path / "enabled"
  monkeypatch.setattr(memory, "_PAGES", pages)
  monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
  memory.huge_pages()
  for mode in ("[always] madvise never", "always madvise [never]"):
    pages.write_text(mode)
    memory.huge_pages()
  pages.write_text("always [madvise] never")
  monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
  memory.huge_pages()


def test_calls_to_and_fro_take_no_memory_anew():
  def leaf():
    pass

  def down(depth):
    for _ in range(200):
      leaf()
    if depth:
      down(depth - 1)

  def faults(call):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    call()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

  assert memory.one_stack(lambda *args: args, 1, 2) == (1, 2)
  assert faults(lambda: down(600)) > 300
  assert faults(lambda: memory.one_stack(down, 600)) < 100
