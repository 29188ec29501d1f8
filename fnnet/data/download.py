"""Downloading the published data sets: resumed, bounded, and taken only if the contents have the right checksum."""

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from fnnet.data.idx import fill, opened
from fnnet.data.published import PUBLISHED, Contents, locate

STEP = 1 << 16
ATTEMPTS = 5  # at one address, as long as each brings more of the file


def fetch(
    name: str, directory: str | os.PathLike[str], *, mirrors: Sequence[str] | None = None, timeout: float = 30.0
) -> Path:
    """Download a data set into a directory, for `load`.

    A file that is there with the right contents is not fetched again. A download goes to a file that ends in .part, is
    resumed from there if it breaks off, now or in a later call, and gets its own name when the SHA-256 of its contents
    is right. If a mirror fails or sends anything else, the next one is asked. Progress is shown if stderr is a
    terminal.

    Args:
        name: "mnist" or "fashion-mnist".
        directory: Where the four files go, as .gz. It is made if need be.
        mirrors: Addresses, http or https, to take instead of the public ones, in this order; each holds the four files.
        timeout: Seconds to wait for a server before it counts as failed.

    Returns:
        The directory.

    Raises:
        ValueError: The name is not known, a mirror is no such address, or the timeout is not positive.
        FileExistsError: The directory has a file of such a name with other contents. It is left alone.
        OSError: No mirror gave a file. The message says which files to put where by hand.
    """
    if name not in PUBLISHED:
        raise ValueError(f"fetch: name {name!r} must be one of {', '.join(map(repr, PUBLISHED))}")
    published = PUBLISHED[name]
    mirrors = published.mirrors if mirrors is None else mirrors
    if not mirrors or not all(mirror.startswith(("http://", "https://")) for mirror in mirrors):
        raise ValueError(f"fetch: mirrors {mirrors!r} must be addresses that begin with http:// or https://")
    if not timeout > 0:
        raise ValueError(f"fetch: timeout {timeout!r} must be a positive number of seconds")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)

    wanted = []
    for file, contents in published.files.items():
        if (path := locate(directory, file)) is None:
            wanted.append(f"{file}.gz")
        elif fault := contents_fault(path, contents):
            raise FileExistsError(f"fetch: {path} is not {name}'s: {fault}; move it away or give another directory")
    for position, file in enumerate(wanted):
        urls = [f"{mirror.rstrip('/')}/{file}" for mirror in mirrors]
        failures = _fetch_file(urls, directory / file, published.files[file.removesuffix(".gz")], timeout)
        if failures:
            raise OSError(
                f"fetch: no mirror gave {name}'s {file} ({'; '.join(failures)}). "
                f"Without a network, put these files into {directory} by hand: {', '.join(wanted[position:])}"
            )
    return directory


def contents_fault(path: Path, contents: Contents) -> str | None:
    """What is wrong with a file's contents, gzip or not; None if nothing is. Stops soon after one byte too many."""
    digest, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(STEP))
    with opened(path) as file:
        while True:
            count, end = fill(file, buffer)
            digest.update(buffer[:count])
            size += count
            if size > contents.size:
                return f"expected {contents.size} bytes, found more"
            if count < STEP:
                break
    if size < contents.size or end != "the end of the file":
        return f"expected {contents.size} bytes, found {end} after {size}"
    if digest.hexdigest() != contents.sha256:
        return f"expected SHA-256 {contents.sha256}, found {digest.hexdigest()}"
    return None


def _fetch_file(urls: Sequence[str], path: Path, contents: Contents, timeout: float) -> list[str]:
    """Download one file from the first address that gives it; else why each did not."""
    part = path.with_name(f"{path.name}.part")
    limit = contents.size + contents.size // 1000 + 1024  # gzip makes nothing longer than this
    failures = []
    for url in urls:
        for _ in range(ATTEMPTS):
            start = _size(part)
            try:
                _download(url, part, start, limit, timeout)
            except (OSError, http.client.HTTPException) as error:
                failure = str(error) or type(error).__name__
                if _size(part) > start:
                    continue  # it broke off after some progress: ask for the rest
                break
            fault = contents_fault(part, contents)
            if fault is None:
                part.replace(path)
                return []
            part.unlink()
            failure = fault
            if not start:
                break  # else the first half may be another server's: once more from the beginning
        failures.append(f"{url}: {failure}")
    return failures


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _download(url: str, part: Path, start: int, limit: int, timeout: float) -> None:
    """Append to the part what comes after its first `start` bytes, or write it anew if the server sends everything."""
    headers = {"User-Agent": "fnnet"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            return  # nothing comes after `start`: the part is whole, or wrong, and its checksum tells
        raise
    with response:
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise OSError(f"asked for bytes from {start} on, got {response.headers.get('Content-Range')}")
        received = start if resumed else 0
        length = response.headers.get("Content-Length", "")
        total = received + int(length) if length.isdecimal() else None
        with part.open("ab" if resumed else "wb") as file:
            while received <= limit and (block := response.read(STEP)):
                file.write(block)
                received += len(block)
                _show(part.stem, received, total)
    _show(part.stem, received, total, end="\n")
    if received > limit:
        part.unlink()
        raise OSError(f"sent more than {limit} bytes")
    if total is not None and received < total:
        raise OSError(f"broke off after {received} of {total} bytes")


def _show(name: str, received: int, total: int | None, end: str = "") -> None:
    """Progress in one line that is written over and over, for a person at a terminal."""
    if sys.stderr.isatty():
        of = "" if total is None else f" of {total / 1e6:.1f}"
        print(f"\r{name}: {received / 1e6:.1f}{of} MB", end=end, file=sys.stderr)
