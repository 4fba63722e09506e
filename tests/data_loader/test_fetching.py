import hashlib
import io
import json
import threading
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_loader.lists.fetching import fetch, problem_of
from data_loader.lists.manifest import MANIFEST, PublishedFile, git_blob_sha1, published_files
from utils.errors import UserError

CONTENT = b"".join(b"val/%06d.jpg %d\n" % (i, i % 7) for i in range(20_000))


def file_of(content, name="A_test.txt", holds=None):
    return PublishedFile(f"data_txt/A/{name}", "", git_blob_sha1(content), 20_000, 7, holds)


def zipped(content, name="A_train.txt"):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


class Server:
    """Serves bytes by path; can cut a number of transfers after half of what is left; counts what is asked for."""

    def __init__(self):
        self.files = {}
        self.cuts = 0
        self.ranges = True
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked = self.headers.get("Range")
                outer.requests.append(asked)
                if self.path not in outer.files:
                    self.send_error(404)
                    return
                content, start = outer.files[self.path], 0
                if asked and outer.ranges:
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
                    if start >= len(content):
                        self.send_error(416)
                        return
                self.send_response(206 if start else 200)
                body = content[start:]
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if outer.cuts:
                    outer.cuts -= 1
                    body = body[: len(body) // 2]
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    served = Server()
    yield served
    served.close()


def test_gits_blob_hash():
    assert git_blob_sha1(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object


def test_the_manifest_has_the_published_files():
    files = published_files()
    assert Counter(file.data_set for file in files) == {"ImageNet_LT": 14, "iNaturalist18": 7, "Places_LT_v2": 14}
    by_name = {file.path.rsplit("/", 1)[1]: file for file in files}
    assert by_name["ImageNet_LT_train.txt"].images == 115_846
    assert by_name["iNaturalist18_train.zip"].holds == "iNaturalist18_train.txt"
    assert by_name["iNaturalist18_backward3.txt"].images == 11_137
    assert len({file.git_blob_sha1 for file in files}) >= 34  # a uniform list may equal its test list
    for file in files:
        assert file.folder_url.startswith("https://")
    sources = json.loads(MANIFEST.read_text())["sources"]
    assert all(len(source["commit"]) == 40 for source in sources.values())
    with pytest.raises(UserError, match="did you mean 'ImageNet_LT'"):
        published_files(["ImageNetLT"])


def test_a_good_file_is_fetched_once(server, tmp_path):
    file = file_of(CONTENT)
    server.files["/data_txt/A/A_test.txt"] = CONTENT
    assert problem_of(file, tmp_path) == "missing"
    assert fetch(file, tmp_path, source=server.url)
    assert (tmp_path / "A" / "A_test.txt").read_bytes() == CONTENT
    assert problem_of(file, tmp_path) == ""
    assert not fetch(file, tmp_path, source=server.url)
    assert server.requests == [None]
    assert [path.name for path in (tmp_path / "A").iterdir()] == ["A_test.txt"]


def test_a_wrong_hash_is_refused_and_nothing_is_kept(server, tmp_path):
    server.files["/data_txt/A/A_test.txt"] = CONTENT[:-2] + b"8\n"
    with pytest.raises(UserError, match="refused, nothing kept") as caught:
        fetch(file_of(CONTENT), tmp_path, source=server.url + "/")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "A").iterdir()) == []


@pytest.mark.parametrize("cuts", [1, 3])
def test_a_transfer_that_is_cut_goes_on_where_it_stopped(server, tmp_path, cuts):
    server.files["/data_txt/A/A_test.txt"] = CONTENT
    server.cuts = cuts
    assert fetch(file_of(CONTENT), tmp_path, source=server.url)
    assert (tmp_path / "A" / "A_test.txt").read_bytes() == CONTENT
    assert len(server.requests) == cuts + 1
    assert server.requests[1] == f"bytes={len(CONTENT) // 2}-"


def test_an_earlier_part_is_continued(server, tmp_path):
    server.files["/data_txt/A/A_test.txt"] = CONTENT
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "A_test.txt.part").write_bytes(CONTENT[:1000])
    fetch(file_of(CONTENT), tmp_path, source=server.url)
    assert server.requests == ["bytes=1000-"]
    assert [path.name for path in (tmp_path / "A").iterdir()] == ["A_test.txt"]


def test_a_server_without_ranges_sends_the_whole_again(server, tmp_path):
    server.files["/data_txt/A/A_test.txt"] = CONTENT
    server.ranges, server.cuts = False, 1
    fetch(file_of(CONTENT), tmp_path, source=server.url)
    assert hashlib.sha1((tmp_path / "A" / "A_test.txt").read_bytes()).digest() == hashlib.sha1(CONTENT).digest()


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    server.files["/data_txt/A/A_test.txt"] = CONTENT
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "A_test.txt.part").write_bytes(CONTENT + b"more")
    fetch(file_of(CONTENT), tmp_path, source=server.url)
    assert server.requests == [f"bytes={len(CONTENT) + 4}-", None]


def test_without_a_network_and_without_the_file_it_is_one_line(server, tmp_path):
    with pytest.raises(UserError, match="the server answers 404") as missing:
        fetch(file_of(CONTENT), tmp_path, source=server.url)
    address = server.url
    server.close()
    with pytest.raises(UserError, match=r"A_test\.txt: can't be fetched \(.*refused") as caught:
        fetch(file_of(CONTENT), tmp_path, source=address)
    assert "\n" not in str(caught.value) + str(missing.value)
    server.__init__()  # for the fixture to close


def test_an_archive_is_unpacked_and_both_are_verified(server, tmp_path):
    packed = zipped(CONTENT)
    file = file_of(packed, "A_train.zip", holds="A_train.txt")
    server.files["/data_txt/A/A_train.zip"] = packed
    assert fetch(file, tmp_path, source=server.url)
    unpacked = tmp_path / "A" / "A_train.txt"
    assert unpacked.read_bytes() == CONTENT
    assert not fetch(file, tmp_path, source=server.url)
    unpacked.write_bytes(CONTENT + b"x")
    assert "differs" in problem_of(file, tmp_path)
    unpacked.unlink()
    assert "isn't unpacked" in problem_of(file, tmp_path)
    assert fetch(file, tmp_path, source="http://127.0.0.1:9")  # needs no network
    assert problem_of(file, tmp_path) == ""


def test_a_clone_serves_as_well(tmp_path):
    clone = tmp_path / "clone"
    (clone / "data_txt" / "A").mkdir(parents=True)
    with pytest.raises(UserError, match="--clone"):
        fetch(file_of(CONTENT), tmp_path / "to", source=clone)
    (clone / "data_txt" / "A" / "A_test.txt").write_bytes(CONTENT)
    assert fetch(file_of(CONTENT), tmp_path / "to", source=clone)
    with pytest.raises(UserError, match="refused"):
        fetch(file_of(b"other"), tmp_path / "elsewhere", source=clone)


def test_another_file_of_the_name_is_not_overwritten_unless_forced(tmp_path):
    (tmp_path / "clone" / "data_txt" / "A").mkdir(parents=True)
    (tmp_path / "clone" / "data_txt" / "A" / "A_test.txt").write_bytes(CONTENT)
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "A_test.txt").write_text("mine.jpg 0\n")
    assert problem_of(file_of(CONTENT), tmp_path) == "differs"
    with pytest.raises(UserError, match="--force"):
        fetch(file_of(CONTENT), tmp_path, source=tmp_path / "clone")
    assert fetch(file_of(CONTENT), tmp_path, source=tmp_path / "clone", force=True)
    assert problem_of(file_of(CONTENT), tmp_path) == ""
