"""Downloads from servers on loopback: whole ones, broken ones, hostile ones, and none at all."""

import contextlib
import gzip
import hashlib
import http.server
import re
import socket
import struct
import sys
import threading

import numpy as np
import pytest

from fnnet.data import fetch, load
from fnnet.data.published import PUBLISHED, Contents, Published

FILES = "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
BIG = f"{FILES[0]}.gz"
REAL = dict(PUBLISHED)
CHUNK = 100_000


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


RNG = np.random.default_rng(0)
ARRAYS = [
    RNG.integers(0, 256, (350, 28, 28), np.uint8),
    np.arange(350, dtype=np.uint8) % 10,
    RNG.integers(0, 256, (20, 28, 28), np.uint8),
    np.arange(20, dtype=np.uint8) % 10,
]
PLAIN = {file: idx_bytes(array) for file, array in zip(FILES, ARRAYS, strict=True)}
PACKED = {f"{file}.gz": gzip.compress(content, 6, mtime=0) for file, content in PLAIN.items()}


class Mirror(http.server.ThreadingHTTPServer):
    """A server that holds `files`, notes what it is asked for, and can misbehave."""

    ranges = True  # whether it answers Range, or sends everything
    shift = 0  # by how much it answers another range than the one asked for
    breaks_off = None  # after how many bytes of each answer
    endless = False

    def __init__(self, files=None):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = dict(PACKED if files is None else files)
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/data/"

    def handle_error(self, request, client_address):
        """Nothing: a client that hangs up on an endless answer is right."""


class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server, name = self.server, self.path.removeprefix("/data/")
        asked = self.headers["Range"]
        server.asked.append((name, asked))
        if name not in server.files:
            return self.send_error(404)
        content, start = server.files[name], 0
        if asked is not None and server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) + server.shift
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if not server.endless:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: server.breaks_off])
        while server.endless:
            self.wfile.write(bytes(CHUNK))


@contextlib.contextmanager
def serving(files=None):
    with Mirror(files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def mirror():
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def small_data_set(monkeypatch):
    contents = {file: Contents(len(plain), hashlib.sha256(plain).hexdigest()) for file, plain in PLAIN.items()}
    monkeypatch.setitem(PUBLISHED, "mnist", Published(("https://nowhere.invalid/",), contents))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def dead():
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}/"


def assert_complete(directory):
    assert sorted(path.name for path in directory.iterdir()) == sorted(PACKED)
    for name, content in PACKED.items():
        assert (directory / name).read_bytes() == content


def test_table_of_published_files():
    assert list(REAL) == ["mnist", "fashion-mnist"]
    for mirrors, files in REAL.values():
        assert all(re.fullmatch(r"https?://[\w./-]+/", mirror) for mirror in mirrors)
        sizes = [size for size, _ in files.values()]
        assert sizes == [16 + 60000 * 784, 8 + 60000, 16 + 10000 * 784, 8 + 10000]
        assert len({sha256 for _, sha256 in files.values() if re.fullmatch("[0-9a-f]{64}", sha256)}) == 4


def test_fetches_once_and_loads(tmp_path, mirror):
    directory = tmp_path / "new" / "mnist"
    assert fetch("mnist", str(directory), mirrors=[mirror.url.rstrip("/")]) == directory
    assert mirror.asked == [(name, None) for name in PACKED]
    assert_complete(directory)
    data = load(directory)
    np.testing.assert_array_equal(data.train[0][..., 0], (ARRAYS[0] / np.float32(255)).astype(np.float32))
    np.testing.assert_array_equal(data.test[1], ARRAYS[3])
    fetch("mnist", directory, mirrors=[mirror.url])
    assert len(mirror.asked) == 4


def test_files_already_there_are_kept(tmp_path, mirror):
    (tmp_path / "train-images.idx3-ubyte").write_bytes(PLAIN[FILES[0]])
    (tmp_path / f"{FILES[1]}.gz").write_bytes(gzip.compress(PLAIN[FILES[1]], 1))  # another packing of the same
    fetch("mnist", tmp_path, mirrors=[mirror.url])
    assert [name for name, _ in mirror.asked] == [f"{file}.gz" for file in FILES[2:]]


@pytest.mark.parametrize("name", [FILES[2], f"{FILES[2]}.gz"])
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (PLAIN[FILES[2]][:-1] + b"!", "expected SHA-256 "),
        (PLAIN[FILES[2]][:-1], "expected 15696 bytes, found the end of the file after 15695"),
        (PLAIN[FILES[2]] + b"!", "expected 15696 bytes, found more"),
    ],
)
def test_other_files_of_these_names_are_left_alone(tmp_path, mirror, name, content, fault):
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(FileExistsError, match=re.escape(f"fetch: {tmp_path / name} is not mnist's: {fault}")):
        fetch("mnist", tmp_path, mirrors=[mirror.url])
    assert (tmp_path / name).read_bytes() == before
    assert mirror.asked == []


def test_resumes_where_the_server_broke_off(tmp_path, mirror):
    mirror.breaks_off = CHUNK
    fetch("mnist", tmp_path, mirrors=[mirror.url])
    assert_complete(tmp_path)
    assert mirror.asked[:3] == [(BIG, None), (BIG, f"bytes={CHUNK}-"), (BIG, f"bytes={2 * CHUNK}-")]
    assert len(mirror.asked) == 3 + 3


def test_gives_up_after_five_pieces_and_resumes_in_the_next_call(tmp_path, mirror):
    mirror.breaks_off = 40_000
    with pytest.raises(OSError, match=f"broke off after 200000 of {len(PACKED[BIG])} bytes"):
        fetch("mnist", tmp_path, mirrors=[mirror.url])
    assert [path.name for path in tmp_path.iterdir()] == [f"{BIG}.part"]
    fetch("mnist", tmp_path, mirrors=[mirror.url])
    assert_complete(tmp_path)
    assert [asked for name, asked in mirror.asked if name == BIG][5] == "bytes=200000-"


def test_resumes_an_earlier_call(tmp_path, mirror):
    (tmp_path / f"{BIG}.part").write_bytes(PACKED[BIG][:1234])
    fetch("mnist", tmp_path, mirrors=[mirror.url])
    assert_complete(tmp_path)
    assert mirror.asked[:2] == [(BIG, "bytes=1234-"), (f"{FILES[1]}.gz", None)]


def test_resumes_what_another_mirror_began(tmp_path, mirror):
    with serving() as first:
        first.breaks_off, first.ranges = CHUNK, False  # it never gets beyond its first CHUNK
        fetch("mnist", tmp_path, mirrors=[first.url, mirror.url])
    assert_complete(tmp_path)
    assert mirror.asked == [(BIG, f"bytes={CHUNK}-")]


def test_whole_part_needs_no_more_than_a_check(tmp_path, mirror):
    (tmp_path / f"{BIG}.part").write_bytes(PACKED[BIG])
    fetch("mnist", tmp_path, mirrors=[mirror.url])
    assert_complete(tmp_path)
    assert mirror.asked[:2] == [(BIG, f"bytes={len(PACKED[BIG])}-"), (f"{FILES[1]}.gz", None)]


@pytest.mark.parametrize("length", [1234, len(PACKED[BIG]), 10 * len(PACKED[BIG])])
def test_wrong_part_is_fetched_from_the_beginning(tmp_path, mirror, length):
    (tmp_path / f"{BIG}.part").write_bytes(bytes(length))
    fetch("mnist", tmp_path, mirrors=[mirror.url])
    assert_complete(tmp_path)
    assert mirror.asked[:2] == [(BIG, f"bytes={length}-"), (BIG, None)]


def test_server_without_ranges_starts_again(tmp_path, mirror):
    mirror.ranges = False
    (tmp_path / f"{BIG}.part").write_bytes(PACKED[BIG][:1234])
    fetch("mnist", tmp_path, mirrors=[mirror.url])
    assert_complete(tmp_path)
    assert mirror.asked[0] == (BIG, "bytes=1234-")
    assert len(mirror.asked) == 4


def test_another_range_than_asked_for_is_refused(tmp_path, mirror):
    mirror.shift = 1
    (tmp_path / f"{BIG}.part").write_bytes(PACKED[BIG][:1234])
    with pytest.raises(OSError, match=r"asked for bytes from 1234 on, got bytes 1235-"):
        fetch("mnist", tmp_path, mirrors=[mirror.url])
    assert (tmp_path / f"{BIG}.part").read_bytes() == PACKED[BIG][:1234]


WRONG = {
    "another pixel": gzip.compress(PLAIN[FILES[0]][:-1] + b"!"),
    "a damaged byte": PACKED[BIG][:5000] + b"!!!!" + PACKED[BIG][5004:],
    "half of it": PACKED[BIG][:CHUNK],
    "without gzip's last bytes": PACKED[BIG][:-8],
    "another checksum of gzip": PACKED[BIG][:-8] + bytes(8),
    "too much": gzip.compress(bytes(50_000_000)),
    "a web page": b"<html>Please log in</html>",
    "nothing": b"",
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_contents_are_refused(tmp_path, mirror, case):
    mirror.files[BIG] = WRONG[case]
    with pytest.raises(OSError, match=rf"{BIG}: expected (SHA-256 \w{{64}}|274416 bytes), found "):
        fetch("mnist", tmp_path, mirrors=[mirror.url])
    assert list(tmp_path.iterdir()) == []
    with serving() as second:
        fetch("mnist", tmp_path, mirrors=[mirror.url, second.url])
        assert second.asked == [(BIG, None)]
    assert_complete(tmp_path)


def test_endless_answer_is_cut(tmp_path, mirror):
    mirror.endless = True
    with pytest.raises(OSError, match=r"sent more than 275714 bytes"):
        fetch("mnist", tmp_path, mirrors=[mirror.url])
    assert list(tmp_path.iterdir()) == []


def test_next_mirror_is_asked(tmp_path, mirror, dead):
    with serving({}) as empty:
        fetch("mnist", tmp_path, mirrors=[dead, empty.url, mirror.url])
        assert empty.asked == [(name, None) for name in PACKED]
    assert_complete(tmp_path)


def test_silent_server_times_out(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(OSError, match="timed out"):
            fetch("mnist", tmp_path, mirrors=[url], timeout=0.1)


def test_without_a_network_says_what_to_put_where(tmp_path, dead):
    (tmp_path / FILES[0]).write_bytes(PLAIN[FILES[0]])
    with pytest.raises(OSError, match=r"^fetch: no mirror gave mnist's train-labels-idx1-ubyte.gz \(http://") as caught:
        fetch("mnist", tmp_path, mirrors=[dead])
    by_hand = f"put these files into {tmp_path} by hand: {', '.join(f'{file}.gz' for file in FILES[1:])}"
    assert str(caught.value).endswith(f"). Without a network, {by_hand}")
    assert "\n" not in str(caught.value)


def test_progress_is_for_terminals(tmp_path, mirror, capsys, monkeypatch):
    fetch("mnist", tmp_path / "quiet", mirrors=[mirror.url])
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch("mnist", tmp_path / "shown", mirrors=[mirror.url])
    out, shown = capsys.readouterr()
    assert out == ""
    assert f"\r{BIG}: 0.1 of 0.3 MB\r" in shown
    assert f"\r{BIG}: 0.3 of 0.3 MB\n" in shown


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cifar", {}, "fetch: name 'cifar' must be one of 'mnist', 'fashion-mnist'"),
        ("mnist", {"mirrors": []}, "fetch: mirrors [] must be addresses that begin with http:// or https://"),
        ("mnist", {"mirrors": "http://a/"}, "fetch: mirrors 'http://a/' must be addresses that"),
        ("mnist", {"mirrors": ["file:///etc/"]}, "fetch: mirrors ['file:///etc/'] must be addresses that"),
        ("mnist", {"timeout": 0.0}, "fetch: timeout 0.0 must be a positive number of seconds"),
    ],
)
def test_refuses(tmp_path, name, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fetch(name, tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()
