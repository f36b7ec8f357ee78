import hashlib
import http.server
import threading

import pytest

from unlocked.data.files.download import download
from unlocked.errors import DataError

BODY = bytes(range(256)) * 2000
MD5 = hashlib.md5(BODY).hexdigest()


class Mirror(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/absent":
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:1000] if self.path == "/cut" else BODY)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def mirror():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def refused(url, target, md5=MD5) -> str:
    with pytest.raises(DataError) as caught:
        download(url, target, md5)
    assert "\n" not in str(caught.value)
    assert url in str(caught.value)
    assert not target.exists()
    return str(caught.value)


def test_a_download_arrives_whole_and_says_so_on_stderr(mirror, tmp_path, capsys):
    target = tmp_path / "new" / "folder" / "file"
    assert download(f"{mirror}/file", target, MD5) == target
    assert target.read_bytes() == BODY
    assert [p.name for p in target.parent.iterdir()] == ["file"]
    printed = capsys.readouterr()
    assert "downloading" in printed.err
    assert printed.out == ""


def test_a_wrong_checksum_or_a_cut_connection_leaves_nothing_behind(mirror, tmp_path):
    assert "MD5" in refused(f"{mirror}/file", tmp_path / "file", md5="0" * 32)
    refused(f"{mirror}/cut", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_or_refusing_server_gives_one_readable_line(mirror, tmp_path):
    assert "404" in refused(f"{mirror}/absent", tmp_path / "file")
    assert "refused" in refused("http://127.0.0.1:1/file", tmp_path / "file")
    assert "unknown url type" in refused("nowhere/file", tmp_path / "file")


def test_a_folder_that_cannot_be_made_gives_one_readable_line(mirror, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match="by hand"):
        download(f"{mirror}/file", tmp_path / "taken" / "file", MD5)
