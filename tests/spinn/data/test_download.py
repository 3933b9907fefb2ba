"""The download: a real server on this machine, a zip within a zip, and every way in which it can go wrong."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from spinn.data import nasa
from spinn.data.download import cache, fetch
from spinn.errors import DataError

CONTENT = bytes(range(256)) * 4000


def zipped(**members: bytes) -> bytes:
    """A zip of the given members; `__` stands for a slash, `_` for a dot."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return stream.getvalue()


def md5(content: bytes) -> str:
    """What pooch wants as the checksum of the zip."""
    return f"md5:{hashlib.md5(content).hexdigest()}"


def sha256(content: bytes) -> str:
    """Checksum of the member."""
    return hashlib.sha256(content).hexdigest()


GOOD = zipped(Milling__readme_txt=b"hello", Milling__mill_zip=zipped(mill_mat=CONTENT, more_txt=b"more"))
PAGES = {
    "/good.zip": GOOD,
    "/direct.zip": zipped(data__mill_mat=CONTENT),
    "/text.zip": b"this is no zip" * 50,
    "/empty.zip": zipped(),
    "/nomill.zip": zipped(drill_zip=zipped(mill_mat=CONTENT)),
    "/nomember.zip": zipped(mill_zip=zipped(drill_mat=CONTENT)),
    "/notinner.zip": zipped(mill_zip=b"no zip at all"),
    "/damaged.zip": GOOD[:200] + bytes(50) + GOOD[250:],
}


@pytest.fixture
def server():
    """Serve `PAGES`; `/cut/…` promises a whole page and sends half of it. Yields address and the requests seen."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            cut = self.path.startswith("/cut/")
            page = PAGES.get(self.path.removeprefix("/cut"))
            if page is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page[: len(page) // 2] if cut else page)

        def log_message(self, format, *args):
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}", seen
        httpd.shutdown()
        thread.join()


def fetch_page(server, page: str, folder, **changes: str):
    """Fetch one page with the checksums that it really has."""
    hashes = {"zip_hash": md5(PAGES.get(page.removeprefix("/cut"), b"")), "mat_hash": sha256(CONTENT)} | changes
    return fetch(url=server[0] + page, folder=folder, **hashes)


@pytest.mark.parametrize("page", ["/good.zip", "/direct.zip"])
def test_the_member_is_fetched_out_of_the_zip(server, tmp_path, page, capsys):
    """The bytes of mill.mat arrive; nothing else is left in the folder; progress goes to standard error only."""
    path = fetch_page(server, page, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "mill.mat"
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["mill.mat"]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert page[1:] in shown.err


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    """A second call asks the server nothing; a damaged file is fetched anew."""
    path = fetch_page(server, "/good.zip", tmp_path)
    assert fetch_page(server, "/good.zip", tmp_path) == path
    assert len(server[1]) == 1
    path.write_bytes(b"damaged")
    assert fetch_page(server, "/good.zip", tmp_path).read_bytes() == CONTENT
    assert len(server[1]) == 2


def test_the_cache_folder_follows_the_environment(server, tmp_path, monkeypatch):
    """SPINN_CACHE moves the cache; `spinn.data.nasa.fetch` is the same function."""
    monkeypatch.setenv("SPINN_CACHE", str(tmp_path / "elsewhere"))
    assert cache() == tmp_path / "elsewhere"
    path = nasa.fetch(url=server[0] + "/good.zip", zip_hash=md5(GOOD), mat_hash=sha256(CONTENT))
    assert path == tmp_path / "elsewhere" / "mill.mat"
    monkeypatch.delenv("SPINN_CACHE")
    assert cache().name == "spinn"


FAULTS = {
    "wrong checksum of the zip": ("/good.zip", {"zip_hash": md5(b"other")}, r"does not have the checksum md5:"),
    "wrong checksum of the member": ("/good.zip", {"mat_hash": sha256(b"other")}, r"mill\.mat has sha256 .*, expected"),
    "cut short": ("/cut/good.zip", {}, r"the download failed \(.*[Ii]ncomplete|cut short"),
    "not found": ("/absent.zip", {}, r"the download failed \(404"),
    "no zip": ("/text.zip", {}, r"not a readable zip"),
    "nothing in it": ("/empty.zip", {}, r"holds neither mill\.zip nor mill\.mat, but nothing"),
    "no inner zip": ("/nomill.zip", {}, r"holds neither mill\.zip nor mill\.mat, but drill\.zip"),
    "no member": ("/nomember.zip", {}, r"mill\.zip in it holds no mill\.mat, but drill\.mat"),
    "inner is no zip": ("/notinner.zip", {}, r"not a readable zip"),
    "damaged inside": ("/damaged.zip", {}, r"not a readable zip"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_line_and_leaves_nothing_behind(server, tmp_path, fault):
    """The address and the reason are named; an earlier mill.mat stays as it was."""
    page, changes, message = FAULTS[fault]
    (tmp_path / "mill.mat").write_bytes(b"from before")
    with pytest.raises(DataError, match=message) as caught:
        fetch_page(server, page, tmp_path, **changes)
    assert "\n" not in str(caught.value)
    assert server[0] in str(caught.value)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("mill.mat", b"from before")]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x.zip", "nonsense", "gopher://127.0.0.1/x.zip", "http://"])
def test_an_address_that_cannot_be_reached(tmp_path, address):
    """No server, no protocol, no host: one line."""
    with pytest.raises(DataError, match=r"the download failed|not an address") as caught:
        fetch(url=address, zip_hash=md5(GOOD), mat_hash=sha256(CONTENT), folder=tmp_path)
    assert len(str(caught.value)) < 300
