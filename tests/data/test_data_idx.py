"""The reader of IDX files: what it reads, and every way in which a file can be wrong."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from fnnet.data import read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def header(code, *sizes):
    return bytes([0, 0, code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


def idx_bytes(array):
    kind = array.dtype.newbyteorder("=").str[1:]
    return header(CODES[kind], *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
GOOD = idx_bytes(SMALL)


def two_members(content):
    return gzip.compress(content[:7]) + gzip.compress(content[7:])


@pytest.mark.parametrize("packed", [bytes, gzip.compress, two_members])
@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(5,), (1, 7), (2, 3, 4), (2, 1, 3, 2)])
def test_reads_what_was_written(tmp_path, packed, kind, shape):
    numbers = np.random.default_rng(0).normal(0, 50, shape).astype(kind.replace("u", "i")).astype(kind)
    path = tmp_path / "numbers.gz"  # plain or not: the name does not decide
    path.write_bytes(packed(idx_bytes(numbers)))
    found = read_idx(path)
    assert found.dtype == numbers.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, numbers)
    np.testing.assert_array_equal(read_idx(str(path), rank=len(shape), dtype=kind), numbers)


def test_reads_more_than_one_step(tmp_path):
    numbers = np.random.default_rng(1).integers(0, 256, (3, 1000, 1001), np.uint8)
    for packed in (bytes, gzip.compress):
        (tmp_path / "numbers").write_bytes(packed(idx_bytes(numbers)))
        np.testing.assert_array_equal(read_idx(tmp_path / "numbers"), numbers)


HUGE = 2**32 - 1
BOTH = [bytes, gzip.compress]
FAULTS = {  # content, byte, expected, found
    "empty": (b"", 0, "a header of 4 bytes or more", "the end of the file"),
    "short magic": (GOOD[:3], 3, "a header of 4 bytes or more", "the end of the file"),
    "a picture": (b"\x89PNG\r\n", 0, "an IDX file's two zero bytes", "0x8950"),
    "little-endian magic": (b"\x03\x08\x00\x00" + GOOD[4:], 0, "an IDX file's two zero bytes", "0x0308"),
    "one byte": (b"I", 0, "an IDX file's two zero bytes", "0x49"),
    "type": (header(0x0A, 2, 3, 4), 2, "a type among 0x08, 0x09, 0x0b, 0x0c, 0x0d, 0x0e", "0x0a"),
    "rank 0": (header(0x08) + b"x", 3, "a rank from 1 to 32", "0"),
    "rank 33": (header(0x08, *[1] * 33) + b"x", 3, "a rank from 1 to 32", "33"),
    "short header": (GOOD[:9], 9, "a header of 16 bytes", "the end of the file"),
    "size 0": (header(0x08, 2, 0, HUGE), 8, "a size of 1 or more", "0"),
    "one byte more": (GOOD + b"x", 40, "the end of sizes (2, 3, 4) of uint8", "more bytes"),
}


@pytest.mark.parametrize("packed", BOTH)
@pytest.mark.parametrize("case", FAULTS)
def test_fault(tmp_path, case, packed):
    content, offset, expected, found = FAULTS[case]
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(packed(content))
    with pytest.raises(ValueError, match=r"^read_idx: ") as caught:
        read_idx(path)
    assert str(caught.value) == f"read_idx: {path}, byte {offset}: expected {expected}, found {found}"


PROMISED = "24 bytes from byte 16 on, for sizes (2, 3, 4) of uint8"
STORED = {  # faults in how the content is stored; `found` is how it begins
    "plain, one byte less": (GOOD[:-1], 4, "sizes that fit into a file of 39 bytes", "(2, 3, 4), 24 bytes of uint8"),
    "plain, 2**96 bytes": (header(8, HUGE, HUGE, HUGE) + b"x", 4, "sizes that fit into a file of 17 bytes", "(4294"),
    "plain, f8": (
        header(0x0E, 1) + b"1234567",
        4,
        "sizes that fit into a file of 15 bytes",
        "(1,), 8 bytes of float64",
    ),
    "gzip, 2**96 bytes": (gzip.compress(header(8, HUGE, HUGE, HUGE)), 4, "sizes that fit into a file of ", "(4294"),
    "gzip, one byte less": (gzip.compress(GOOD[:-1]), 39, PROMISED, "the end of the file"),
    "gzip, half the numbers": (gzip.compress(GOOD, 0)[: 10 + 5 + 28], 28, PROMISED, "a broken gzip stream ("),
    "gzip, half the header": (
        gzip.compress(GOOD, 0)[: 10 + 5 + 9],
        9,
        "a header of 16 bytes",
        "a broken gzip stream (",
    ),
    "gzip, no trailer": (gzip.compress(GOOD)[:-8], 40, "the end of sizes (2, 3, 4)", "a broken gzip stream ("),
    "gzip, checksum": (
        gzip.compress(GOOD)[:-8] + bytes(8),
        40,
        "the end of sizes (2, 3, 4)",
        "a broken gzip stream (CRC",
    ),
    "gzip, junk behind": (gzip.compress(GOOD) + b"junk", 40, "the end of sizes (2, 3, 4)", "a broken gzip stream ("),
    "gzip, second member": (gzip.compress(GOOD) + gzip.compress(b"x"), 40, "the end of sizes", "more bytes"),
    "gzip, only its magic": (b"\x1f\x8b", 0, "a header of 4 bytes or more", "a broken gzip stream ("),
}


@pytest.mark.parametrize("case", STORED)
def test_fault_of_storage(tmp_path, case):
    content, offset, expected, found = STORED[case]
    path = tmp_path / "numbers"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^read_idx: ") as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"read_idx: {path}, byte {offset}: expected {expected}")
    assert f", found {found}" in str(caught.value)


def test_wanted_rank_and_type(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(GOOD)
    with pytest.raises(ValueError, match=r"byte 3: expected rank 1, found 3$"):
        read_idx(path, rank=1)
    with pytest.raises(ValueError, match=r"byte 2: expected the type of float32, found 0x08, uint8$"):
        read_idx(path, dtype=np.float32)


@pytest.mark.parametrize("packed", BOTH)
def test_every_truncation_is_a_fault(tmp_path, packed):
    path = tmp_path / "numbers"
    whole = packed(GOOD)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"read_idx: .*numbers, byte \d+: expected .*, found "):
            read_idx(path)


@pytest.mark.parametrize("level", [0, 9])
def test_every_flipped_bit_of_gzip_is_a_fault_or_harmless(tmp_path, level):
    path = tmp_path / "numbers"
    whole = gzip.compress(GOOD, level, mtime=0)
    faults = 0
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = read_idx(path)
        except ValueError:
            faults += 1
        else:  # a time or a system in gzip's own header
            np.testing.assert_array_equal(found, SMALL)
    assert faults > 8 * (len(whole) - 10)


def peak_of_refusing(path):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"^read_idx"):
            read_idx(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_stays_within_the_header(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(gzip.compress(GOOD + bytes(30_000_000)))  # unpacks to more than it says
    assert peak_of_refusing(path) < 2_000_000
    path.write_bytes(gzip.compress(header(0x08, 30_000, 1000) + bytes(20_000)))  # says more than it can unpack to
    assert peak_of_refusing(path) < 2_000_000


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="numbers"):
        read_idx(tmp_path / "numbers")
