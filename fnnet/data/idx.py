"""IDX files, the format of MNIST: a header, then the numbers in row-major order, all of it big-endian.

byte 0 and 1    zero
byte 2          type of the numbers: 0x08 uint8, 0x09 int8, 0x0B int16, 0x0C int32, 0x0D float32, 0x0E float64
byte 3          rank r
byte 4          r sizes of four bytes each
byte 4 + 4 r    the numbers, to the end of the file

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", the section on the IDX format.
"""

import contextlib
import gzip
import io
import math
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_RATIO = 1032  # 258 bytes in 2 bits: no deflate stream stands for more bytes than this for each of its own
MAX_RANK = 32  # as many axes as every NumPy takes
STEP = 1 << 20

TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """A file to read from, through gzip where it begins as gzip does: its name may say anything."""
    with path.open("rb") as raw:
        if raw.peek(2)[:2] == GZIP_MAGIC:
            with gzip.GzipFile(fileobj=raw) as file:
                yield file
        else:
            yield raw


def fill(file: io.BufferedIOBase, buffer: memoryview) -> tuple[int, str]:
    """Read until the buffer is full or nothing more comes: how many bytes came, and what it was that ended them."""
    filled = 0
    try:
        # readinto1 gives what there is before it raises, so that `filled` is right to the byte
        while filled < len(buffer) and (count := file.readinto1(buffer[filled : filled + STEP])):
            filled += count
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return filled, f"a broken gzip stream ({error})"
    return filled, "the end of the file"


def read_idx(path: str | os.PathLike[str], *, rank: int | None = None, dtype: DTypeLike | None = None) -> np.ndarray:
    """The array in an IDX file, gzip or not.

    Memory stays within what the header promises, and the header may promise no more than a file of this size can
    hold. Offsets in errors count the decompressed bytes.

    Args:
        path: The file. Whether it is gzip is read from its first bytes, not from its name.
        rank: The rank that the file must have; None takes any.
        dtype: The type that the file must have; None takes any of the six.

    Returns:
        An array of the file's shape and type, in the byte order of this machine.

    Raises:
        ValueError: The file is not exactly one IDX array, or not of this rank and type. The message has the file, the
            byte, what was expected there and what was found.
        OSError: The file cannot be read.
    """
    path = Path(path)

    def fault(offset: int, expected: str, found: object) -> ValueError:
        return ValueError(f"read_idx: {path}, byte {offset}: expected {expected}, found {found}")

    with opened(path) as file:
        magic = bytearray(4)
        count, end = fill(file, memoryview(magic))
        if any(zeros := magic[: min(count, 2)]):
            raise fault(0, "an IDX file's two zero bytes", f"0x{zeros.hex()}")
        if count < 4:
            raise fault(count, "a header of 4 bytes or more", end)
        code, found_rank = magic[2:]
        if code not in TYPES:
            raise fault(2, "a type among " + ", ".join(f"0x{known:02x}" for known in TYPES), f"0x{code:02x}")
        found_dtype = TYPES[code]
        native = found_dtype.newbyteorder("=")
        if dtype is not None and native != np.dtype(dtype).newbyteorder("="):
            raise fault(2, f"the type of {np.dtype(dtype)}", f"0x{code:02x}, {native}")
        if rank is not None and found_rank != rank:
            raise fault(3, f"rank {rank}", found_rank)
        if not 1 <= found_rank <= MAX_RANK:
            raise fault(3, f"a rank from 1 to {MAX_RANK}", found_rank)

        packed = bytearray(4 * found_rank)
        count, end = fill(file, memoryview(packed))
        start = 4 + len(packed)
        if count < len(packed):
            raise fault(4 + count, f"a header of {start} bytes", end)
        sizes = struct.unpack(f">{found_rank}I", packed)
        if 0 in sizes:
            raise fault(4 + 4 * sizes.index(0), "a size of 1 or more", 0)

        # all before the allocation: a header of 16 bytes can ask for 2**96
        promised = math.prod(sizes) * found_dtype.itemsize
        stored = path.stat().st_size
        if start + promised > stored * (DEFLATE_RATIO if isinstance(file, gzip.GzipFile) else 1):
            raise fault(4, f"sizes that fit into a file of {stored} bytes", f"{sizes}, {promised} bytes of {native}")
        numbers = np.empty(promised, np.uint8)
        count, end = fill(file, numbers.data)
        if count < promised:
            raise fault(start + count, f"{promised} bytes from byte {start} on, for sizes {sizes} of {native}", end)
        count, end = fill(file, memoryview(bytearray(1)))  # also makes gzip compare its checksum
        if count or end != "the end of the file":
            raise fault(start + promised, f"the end of sizes {sizes} of {native}", "more bytes" if count else end)
    return numbers.view(found_dtype).reshape(sizes).astype(native, copy=False)
