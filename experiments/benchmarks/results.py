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
    """Of the blocks of one program: seconds a step, and what the machine did meanwhile.

    Attributes:
        seconds: The median.
        low: The first quartile.
        high: The third.
        blocks: How many.
        cores: Processor seconds for each second, of the process itself.
        elsewhere: The same of all others together; None where the system does not tell.
        faults: Page faults a step.
    """

    seconds: float
    low: float
    high: float
    blocks: int
    cores: float
    elsewhere: float | None
    faults: float


class Results:
    """The records of one output directory; those of a cell that is measured again are replaced."""

    def __init__(self, directory: Path):
        """Reads what is there."""
        self.records = Records(directory / "records.jsonl", KEY)

    def add(self, part: str, cell: str, measured: Iterable[Measured]) -> None:
        """Keep a cell."""
        for own in measured:
            self.records.add(
                {
                    "part": part,
                    "cell": cell,
                    "contestant": own.contestant,
                    "setting": own.setting,
                    "mode": own.mode,
                    "samples": own.samples,
                    "facts": own.facts,
                    "problem": own.problem,
                    "unsupported": own.unsupported,
                }
            )

    def of(self, part: str) -> Iterator[dict[str, Any]]:
        """The records of a part."""
        return (record for record in self.records if record["part"] == part)

    def cells(self, part: str) -> list[str]:
        """The names of a part's cells, in the order in which they were measured first."""
        return list(dict.fromkeys(record["cell"] for record in self.of(part)))

    def settings(self) -> list[str]:
        """The memory settings that occur."""
        return list(dict.fromkeys(record["setting"] for record in self.records))

    def get(self, part: str, cell: str, contestant: str, setting: str, mode: str) -> dict[str, Any] | None:
        """One record."""
        key = (part, cell, contestant, setting, mode)
        return self.records[key] if key in self.records else None

    def summary(self, part: str, cell: str, contestant: str, setting: str, mode: str) -> Summary | None:
        """Of a program that was timed."""
        record = self.get(part, cell, contestant, setting, mode)
        return None if record is None else summary_of(record)

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

    def fact(self, part: str, cell: str, contestant: str, setting: str, mode: str, fact: str) -> float | None:
        """A fact about a program."""
        record = self.get(part, cell, contestant, setting, mode)
        value: float | None = None if record is None or record["problem"] else record["facts"].get(fact)
        return value


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
