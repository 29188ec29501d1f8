"""Files and directories that appear whole or not at all, whatever ends the process: power, a signal, a full disk.

The new contents are written under another name in the same directory, flushed to the disk, and then renamed.
"""

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path


def write_file(file: Path, data: bytes, *, replace: bool = True) -> None:
    """Write a file: afterwards it has the old contents or the new ones.

    Raises:
        FileExistsError: `replace` is False and the file exists.
        OSError: It cannot be written; nothing is left behind.
    """
    partial = _beside(file)
    try:
        _write(partial, data)
        if replace:
            partial.replace(file)
        else:
            os.link(partial, file)  # unlike a rename it fails if another process was quicker
    finally:
        partial.unlink(missing_ok=True)
    _flush(file.parent)


def write_directory(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write a new directory with these files in it.

    Raises:
        OSError: It exists with something in it, or cannot be written; nothing is left behind.
    """
    partial = _beside(directory)
    partial.mkdir()
    try:
        for name, data in files.items():
            _write(partial / name, data)
        _flush(partial)
        partial.rename(directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _flush(directory.parent)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def _write(file: Path, data: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _flush(directory: Path) -> None:
    """Flush the names in a directory to the disk; Windows has no such call."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
