"""history.jsonl: a training's history, one line an epoch, written as it happens; and what is printed of it."""

import json
from pathlib import Path
from typing import Any

from fnnet.cli.subjects import Subject
from fnnet.core import atomic

LINES = 20  # about so many epochs are printed


class Journal:
    """The history of a run as a file that always holds whole lines, but for the last one of a killed process."""

    def __init__(self, file: Path, epochs: int, subject: Subject):
        """Nothing is written yet."""
        self.file, self.epochs, self.subject, self._written = file, epochs, subject, -1

    def note(self, history: list[dict[str, Any]]) -> None:
        """Bring the file up to date; OSError where it cannot be written, and then the next call writes all of it."""
        written, self._written = self._written, -1
        if written < 0:
            atomic.write_file(self.file, "".join(map(_line, history)).encode())
        else:
            with self.file.open("a") as stream:
                stream.write("".join(map(_line, history[written:])))
        self._written = len(history)

    def show(self, record: dict[str, Any]) -> None:
        """A line for the reader, if it is this epoch's turn."""
        epoch = record["epoch"]
        if epoch in (1, self.epochs) or epoch % max(1, round(self.epochs / LINES)) == 0:
            count = f"epoch {epoch:{len(str(self.epochs))}}/{self.epochs}"
            held_out = self.subject.score(record["validation_loss"], record["validation_accuracy"])
            print(f"{count}   loss {record['loss']:.4f}   held out {held_out}   {record['seconds']:5.1f} s", flush=True)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"
