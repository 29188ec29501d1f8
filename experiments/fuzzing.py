"""Files that hypothesis makes up: the readers of IDX files, checkpoints, images and networks raise what they promise.

`python experiments/fuzzing.py --minutes 10` prints how many inputs each reader was given, how many it took, and the
most memory that one needed. Good files are drawn and damaged (bytes changed, cut out, put in; gzip and
PNG packed anew, such that damage lies behind the checksums), and some are made of nothing but random bytes.
"""

import argparse
import gzip
import hashlib
import io
import json
import math
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fnnet import Dense, Flatten, Sequential, serving
from fnnet.data import load, read_idx
from fnnet.data.idx import TYPES
from fnnet.data.image_files import read_image
from fnnet.training import checkpoint, resumption

NUMBERS = st.one_of(st.integers(0, 5), st.sampled_from([2**7, 2**16, 2**31 - 1, 2**31, 2**32 - 1]))
MOST_MEMORY = 400_000_000  # bytes that a reader may hold beyond its input: 50 million pixels in four colours
ROUND = 200  # inputs between two looks at the clock
SETTINGS = settings(database=None, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))


@st.composite
def damaged(draw: Any, good: bytes) -> bytes:
    """A good file with up to four places changed, cut out or filled in."""
    data, random = bytearray(good), draw(st.randoms(use_true_random=True))
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        at, length = random.randint(0, len(data)), random.randint(0, 9)
        data[at : at + length] = random.randbytes(random.choice((length, length, random.randint(0, 9))))
    return bytes(data)


@st.composite
def idx_files(draw: Any, rank: int | None = None) -> bytes:
    """IDX files: a header of any kind, numbers enough for it or not, sometimes in gzip."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=64))
    number: dict[str, Any] = {"max_size": 4} if rank is None else {"min_size": rank, "max_size": rank}
    sizes = draw(st.lists(st.integers(1, 5) if draw(st.booleans()) else NUMBERS, **number))
    code = draw(st.sampled_from(sorted(TYPES))) if draw(st.integers(0, 3)) else draw(st.integers(0, 255))
    header = bytes([0, 0, code, len(sizes) if draw(st.integers(0, 3)) else draw(st.integers(0, 255))])
    promised = math.prod(sizes) * (TYPES[code].itemsize if code in TYPES else 1)
    content = header + struct.pack(f">{len(sizes)}I", *sizes) + bytes(range(250)) * (1 + min(promised, 20_000) // 250)
    content = content[: len(header) + 4 * len(sizes) + promised]
    if draw(st.booleans()):
        content = draw(damaged(content))
    if draw(st.booleans()):
        content = gzip.compress(content, draw(st.integers(0, 9)))
        if draw(st.booleans()):
            content = draw(damaged(content))
    return content


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def manifests(draw: Any, good: dict[str, Any]) -> bytes:
    """Manifests: entries replaced by any JSON, and sealed anew, so that the checksum agrees; or plain damage."""
    manifest = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(0, 3))):
        node: Any = manifest
        while isinstance(node, dict) and node:
            name = draw(st.sampled_from(sorted(node)))
            if not isinstance(node[name], dict) or not node[name] or draw(st.booleans()):
                node[name] = draw(JSON)
                break
            node = node[name]
    try:
        manifest["sha256"] = checkpoint._digest({key: manifest[key] for key in manifest if key != "sha256"})
    except ValueError:
        pass  # it has an infinity
    text = json.dumps(manifest).encode()
    return draw(damaged(text)) if draw(st.booleans()) else text


@st.composite
def exported_networks(draw: Any, good: bytes) -> bytes:
    """Exported networks: an entry of the manifest replaced, the program damaged, mostly with a right checksum."""
    first, line, program = good.split(b"\n", 2)
    manifest = json.loads(line)
    for name in draw(st.lists(st.sampled_from(sorted(manifest)), max_size=1)):
        manifest[name] = draw(JSON)
    if draw(st.booleans()):
        program = draw(damaged(program))
    if draw(st.integers(0, 3)):
        manifest |= {"bytes": len(program), "sha256": hashlib.sha256(program).hexdigest()}
    content = b"\n".join((first, json.dumps(manifest).encode(), program))
    return draw(damaged(content)) if draw(st.integers(0, 3)) == 0 else content


@st.composite
def pictures(draw: Any) -> bytes:
    """PNG files whose chunks have right checksums, whatever is in them; and damaged JPEG files."""
    from PIL import Image

    if draw(st.booleans()):
        jpeg = io.BytesIO()
        Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(jpeg, "JPEG")
        return draw(damaged(jpeg.getvalue()))
    size = st.one_of(st.integers(0, 20), NUMBERS)
    any_form = bytes(draw(st.lists(st.integers(0, 16), min_size=5, max_size=5)))
    form = draw(st.sampled_from([b"\x08\0\0\0\0", b"\x08\2\0\0\0", b"\x10\0\0\0\0", any_form]))
    head = struct.pack(">II", draw(size), draw(size)) + form
    pixels = draw(st.one_of(st.binary(max_size=200), st.integers(0, 100_000).map(bytes)))
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from([b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"gAMA", b"acTL", b"fcTL", b"IDAT"]))
        packed = st.integers(0, 3_000_000).map(lambda number: b"a\0\0" + zlib.compress(bytes(number)))
        chunks.insert(draw(st.integers(1, len(chunks))), (name, draw(st.one_of(st.binary(max_size=40), packed))))
    file = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        file += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return draw(damaged(file)) if draw(st.booleans()) else file


def peak() -> int:
    """The most bytes that this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Reader:
    """One reader, and what became of its inputs."""

    def __init__(self, name: str, inputs: st.SearchStrategy, read: Callable[[Any], Any]):
        """`read` is called with each input."""
        self.name, self.inputs, self.read = name, inputs, read
        self.tried = self.taken = self.most = 0
        self.rounds = 0

    def round(self) -> None:
        """Another `ROUND` inputs; whatever the reader raises but its own errors ends the program."""
        self.rounds += 1

        @seed(self.rounds)
        @settings(SETTINGS, max_examples=ROUND)
        @given(self.inputs)
        def try_all(data: Any) -> None:
            self.tried += 1
            try:
                self.read(data)
                self.taken += 1
            except (ValueError, OSError) as error:
                if not str(error):
                    raise AssertionError(f"{self.name}: an error without a message") from error

        before = peak()
        try_all()
        self.most = max(self.most, peak() - before)
        if self.most > MOST_MEMORY:
            raise AssertionError(f"{self.name}: {self.most} bytes of memory")


def readers(directory: Path) -> list[Reader]:
    """All readers, on files below a directory."""
    good = checkpoint.save(
        directory / "checkpoint",
        {"params": {"dense_0": {"kernel": np.ones((2, 3), np.float32)}}, "key": np.zeros(2, np.uint32)},
        config={
            "net": "mlp",
            "shape": [8, 8, 1],
            "training": {"history": [], "best_loss": None, **dict.fromkeys(("since_best", "seconds"), 0)},
        },
    )
    manifest = json.loads((good / checkpoint.MANIFEST).read_text())
    weights = (good / checkpoint.WEIGHTS).read_bytes()

    def idx(data: bytes) -> None:
        (directory / "numbers").write_bytes(data)
        read_idx(directory / "numbers")

    def pair(data: tuple[bytes, bytes]) -> None:
        for part in ("train", "t10k"):
            (directory / f"{part}-images-idx3-ubyte").write_bytes(data[0])
            (directory / f"{part}-labels-idx1-ubyte").write_bytes(data[1])
        load(directory)

    def saved(data: tuple[bytes, bytes]) -> None:
        (good / checkpoint.MANIFEST).write_bytes(data[0])
        (good / checkpoint.WEIGHTS).write_bytes(data[1])
        resumption._read(good)

    network = Sequential(Flatten(), Dense(3))
    params = network.init(jax.random.key(0), (2, 2, 1))
    program = serving.export(network, params, (2, 2, 1), directory / "network", platforms=["cpu"]).read_bytes()

    def exported(data: bytes) -> None:
        (directory / "network").write_bytes(data)
        found = serving.load(directory / "network")
        if math.prod(found.shape) < 1000:
            found(np.zeros((2, *found.shape), np.float32))

    def image(data: bytes) -> None:
        (directory / "image").write_bytes(data)
        read_image(directory / "image", (8, 8, 1))

    return [
        Reader("IDX files", idx_files(), idx),
        Reader("directories of IDX files", st.tuples(idx_files(3), idx_files(1)), pair),
        Reader("checkpoints", st.tuples(manifests(manifest), st.one_of(st.just(weights), damaged(weights))), saved),
        Reader("images", pictures(), image),
        Reader("exported networks", exported_networks(program), exported),
    ]


def main(minutes: float) -> None:
    """Round after round until the time is over."""
    until = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="fnnet-fuzzing-") as directory:
        all_readers = readers(Path(directory))
        while time.monotonic() < until:
            for reader in all_readers:
                reader.round()
    for reader in all_readers:
        print(f"{reader.name}: {reader.tried} inputs, {reader.taken} taken, at most {reader.most / 1e6:.1f} MB more")
    tried = sum(reader.tried for reader in all_readers)
    print(f"{tried} inputs, no crash; the process had {peak() / 1e6:.0f} MB at most")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    main(parser.parse_args().minutes)
    sys.exit(0)
