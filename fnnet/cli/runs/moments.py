"""The moments of a training: its parameters at the start and after every N-th epoch, for `fnnet trace`.

    moments/epoch-4/     a checkpoint (fnnet/training/checkpoint.py) of the parameters alone

Each is whole or not there. A training that is resumed removes those that lie after its checkpoint and makes them again.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from fnnet.cli.runs.directory import Run, parameters, warn
from fnnet.training import checkpoint, processes

MOMENTS = "moments"
NAME = re.compile(r"epoch-(\d{1,15})")


class Moments:
    """Those of a run, as it is trained; `every` is None where none are kept."""

    def __init__(self, run: Path, every: int | None):
        """Nothing is written yet."""
        self.directory, self.every = run / MOMENTS, every

    def begin(self, epochs: int) -> None:
        """Remove what a killed process left half-written, and what lies after the epochs that are done."""
        if self.every is None or not self.directory.is_dir() or not processes.is_first():
            return
        for path in self.directory.iterdir():
            match = NAME.fullmatch(path.name)
            if path.name.startswith(".epoch-") or (match is not None and int(match[1]) > epochs):
                shutil.rmtree(path, ignore_errors=True)

    def keep(self, epoch: int, params: Any) -> None:
        """Write the parameters, if it is this epoch's turn; all processes call this. A full disk is only reported."""
        if self.every is None or epoch % self.every:
            return
        params = processes.on_host(params)
        directory = self.directory / f"epoch-{epoch}"
        if not processes.is_first() or directory.exists():
            return
        try:
            self.directory.mkdir(exist_ok=True)
            checkpoint.save(directory, {"params": params}, config={"epoch": epoch})
        except OSError as error:
            warn(f"the parameters of epoch {epoch} cannot be kept: {error}; the training goes on")


def kept(directory: Path, run: Run) -> dict[int, Any]:
    """The parameters that a run directory holds, by their epoch; what is damaged is reported and left out."""
    found: dict[int, Any] = {}
    wanted, folder = parameters(run.net, run.config), directory / MOMENTS
    names = (NAME.fullmatch(path.name) for path in folder.iterdir()) if folder.is_dir() else ()
    for epoch in sorted(int(match[1]) for match in names if match is not None):
        try:
            trees, _ = checkpoint.load(folder / f"epoch-{epoch}")
            found[epoch] = checkpoint.restore(trees.get("params", {}), wanted)
        except ValueError as error:
            warn(f"{error}; it is left out")
    return found
