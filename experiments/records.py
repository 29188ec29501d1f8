"""Results kept as lines of JSON, so that a long run can be stopped and goes on where it was; and tables of them."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any


class Records:
    """Records by their key; of two with one key the later counts.

    Args:
        path: The file of lines; None keeps nothing.
        key: The fields that tell one record from another.
    """

    def __init__(self, path: Path | None, key: Sequence[str]):
        """Read what the file has."""
        self.path, self.key = path, tuple(key)
        self.by_key: dict[tuple, dict[str, Any]] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                record = json.loads(line)
                self.by_key[tuple(record[name] for name in self.key)] = record

    def __contains__(self, key: tuple) -> bool:
        """Whether there is a record of that key."""
        return key in self.by_key

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The records, oldest key first."""
        return iter(self.by_key.values())

    def __getitem__(self, key: tuple) -> dict[str, Any]:
        """The record of that key."""
        return self.by_key[key]

    def add(self, record: dict[str, Any]) -> None:
        """Keep a record, in memory and as a line of the file."""
        self.by_key[tuple(record[name] for name in self.key)] = record
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [[str(cell).replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
