"""What was measured, as lines of JSON in the output directory, and the medians of it."""

import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from records import Records

from benchmarks.clock import Sample
from benchmarks.rounds import Measured

KEY = ("part", "cell", "contestant", "setting", "mode")


class Summary(NamedTuple):
    """Of the blocks of one program: seconds a step, and what the machine did meanwhile."""

    seconds: float  # the median
    low: float  # the first quartile
    high: float  # the third
    blocks: int
    cores: float  # processor seconds for each second, of the process itself
    elsewhere: float | None  # the same of all others together; None where the system does not tell
    faults: float  # page faults a step


class Results:
    """The records of one output directory; those of a cell that is measured again are replaced."""

    def __init__(self, directory: Path):
        """Reads what is there."""
        self.records = Records(directory / "records.jsonl", KEY)

    def add(self, part: str, cell: str, measured: Iterable[Measured]) -> None:
        """Keep a cell."""
        for own in measured:
            self.records.add({"part": part, "cell": cell} | vars(own))

    def of(self, part: str) -> Iterator[dict[str, Any]]:
        """The records of a part."""
        return (record for record in self.records if record["part"] == part)

    def cells(self, part: str) -> list[str]:
        """The names of a part's cells, in the order in which they were measured first."""
        return list(dict.fromkeys(record["cell"] for record in self.of(part)))

    def settings(self) -> list[str]:
        """The memory settings that occur."""
        return list(dict.fromkeys(record["setting"] for record in self.records))

    def summary(self, *key: str) -> Summary | None:
        """Of a program that was timed; the key is its part, cell, contestant, setting and mode."""
        return summary_of(self.records[key]) if key in self.records else None

    def fact(self, name: str, *key: str) -> float | None:
        """A fact about the program with that key."""
        record = self.records[key] if key in self.records else None
        return None if record is None or record["problem"] else record["facts"].get(name)

    def fastest(self, part: str, cell: str, contestant: str, settings: Iterable[str]) -> float | None:
        """The least median of a contestant, in whichever mode."""
        settings = set(settings)
        found = [
            summary.seconds
            for record in self.of(part)
            if (record["cell"], record["contestant"]) == (cell, contestant) and record["setting"] in settings
            if (summary := summary_of(record)) is not None
        ]
        return min(found, default=None)


def summary_of(record: dict[str, Any]) -> Summary | None:
    """The medians of a record; None where a problem left none."""
    samples = [Sample(*sample) for sample in record["samples"]]
    if record["problem"] or not samples:
        return None
    seconds = [sample.wall / sample.units for sample in samples]
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else seconds * 3
    elsewhere = [sample.elsewhere / sample.wall for sample in samples if sample.elsewhere is not None]
    return Summary(
        middle,
        low,
        high,
        len(samples),
        statistics.median(sample.cpu / sample.wall for sample in samples),
        statistics.median(elsewhere) if elsewhere else None,
        statistics.median(sample.faults / sample.units for sample in samples),
    )
