"""One training a directory: a lock on the directory itself, which the system releases whatever ends the process."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold a directory; raises ValueError where another process, or another call, does."""
    try:
        import fcntl
    except ImportError as error:  # Windows
        raise ValueError(f"{directory} cannot be locked: this system has no fcntl") from error
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{directory} is in use by another training") from None
        yield
    finally:
        os.close(descriptor)
