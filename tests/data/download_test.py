import functools
import hashlib
import http.server
import threading

import pytest

from gen_jax.data.download import fetch
from gen_jax.errors import InputError

DATA = b"data" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def site(tmp_path):
  """A web site with one file; gives its address, and the list of what was asked for."""
  (tmp_path / "site").mkdir()
  (tmp_path / "site" / "a.gz").write_bytes(DATA)
  asked = []

  class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
      asked.append(self.path)

    def do_GET(self):
      if not self.path.startswith("/cut/"):
        return super().do_GET()
      self.send_response(200)
      self.send_header("Content-Length", str(len(DATA)))
      self.end_headers()
      self.wfile.write(DATA[:500])  # and the connection is closed
      return None

  with http.server.ThreadingHTTPServer(
    ("localhost", 0), functools.partial(Handler, directory=tmp_path / "site")
  ) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/", asked
    server.shutdown()


def test_a_file_is_fetched_once(site, tmp_path):
  url, asked = site
  for _ in range(2):
    assert fetch(url + "a.gz", SHA256, tmp_path / "kept").read_bytes() == DATA
  assert asked == ["/a.gz"]


def test_another_file_is_refused_and_not_kept(site, tmp_path):
  with pytest.raises(InputError, match=r"a\.gz is not the file it used to be"):
    fetch(site[0] + "a.gz", "0" * 64, tmp_path / "kept")
  assert not list((tmp_path / "kept").iterdir())


def test_a_connection_that_breaks_off(site, tmp_path):
  with pytest.raises(InputError, match=r"could not download .*cut/a\.gz .*: give the command again"):
    fetch(site[0] + "cut/a.gz", SHA256, tmp_path / "kept")
  assert not list((tmp_path / "kept").iterdir())


def test_no_such_file_and_no_such_site(site, tmp_path):
  for url in (site[0] + "b.gz", "http://localhost:9/b.gz"):
    with pytest.raises(InputError, match=r"could not download .*b\.gz.*set data\.manual_dir"):
      fetch(url, SHA256, tmp_path / "kept")
  assert not list((tmp_path / "kept").iterdir())
