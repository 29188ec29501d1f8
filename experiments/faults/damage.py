"""A small checkpoint that is cut off at every length, or has a bit flipped in every byte."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.trials import holds, moment, of_fault
from fnnet.training import resumption
from fnnet.training.checkpoint import MANIFEST, WEIGHTS
from fnnet.training.resumption import Checkpoints

SIZE = 12  # parameters


@of_fault("a file cut off at every length")
def cut_off(directory: Path, every: int) -> Iterator[str | None]:
    """Both files at every length, or at each `every`-th."""
    return _tried(directory / "cut", every, lambda whole, at: whole[:at])


@of_fault("a bit flipped in every byte")
def flipped(directory: Path, every: int) -> Iterator[str | None]:
    """A bit of every byte of both files, or of each `every`-th: another bit each time."""

    def flip(whole: bytes, at: int) -> bytes:
        return whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]

    return _tried(directory / "flipped", every, flip)


def _tried(directory: Path, every: int, damage: Callable[[bytes, int], bytes]) -> Iterator[str | None]:
    saves = Checkpoints(directory)
    saves.directory.mkdir()
    for step in (1, 2):
        saves.save(moment(step, SIZE))
    for name in (MANIFEST, WEIGHTS):
        file = directory / "epoch-0-step-2" / name
        whole = file.read_bytes()
        for at in range(0, len(whole), every):
            file.write_bytes(damage(whole, at))
            yield _older_is_found(directory, file)
        file.write_bytes(whole)
    yield _goes_on_beside_damage(directory)


def _older_is_found(directory: Path, file: Path) -> str | None:
    faults: list[str] = []
    saved = resumption.newest(directory, lambda path, error: faults.append(str(error)))
    if len(faults) != 1 or str(file.parent) not in faults[0]:
        return f"the damage was not named: {faults}"
    return None if saved is not None and holds(saved, 1, SIZE) else "the whole one was not found"


def _goes_on_beside_damage(directory: Path) -> str | None:
    """Resumed: the damaged one is moved aside, and one of its name written anew."""
    (directory / "epoch-0-step-2" / WEIGHTS).write_bytes(b"")
    said: list[str] = []
    with Checkpoints(directory, report=said.append) as saves:
        damaged: list[Path] = []
        resumption.newest(directory, lambda path, error: damaged.append(path))
        for path in damaged:
            path.rename(path.with_name(f"damaged-{path.name}"))
        saves.save(moment(2, SIZE))
    saved = resumption.newest(directory, lambda path, error: said.append(str(error)))
    shutil.rmtree(directory / "damaged-epoch-0-step-2")
    return None if saved is not None and holds(saved, 2, SIZE) and not said else f"not found again: {said}"
