"""`fnnet trace`: one forward and one backward of a trained network on held-out examples."""

import argparse
import re
from pathlib import Path
from typing import Any, NamedTuple

from fnnet.cli import runs
from fnnet.cli.parsing import Command, Parser, whole
from fnnet.tracing.records import Step
from fnnet.tracing.traces import Trace

ENTRY = re.compile(r"(?P<layer>[^.]+)\.(?P<of>[^.\[\]]+)(?:\[(?P<index>[-\d,\s]*)\])?")


class Entry(NamedTuple):
    """What --entry names: a place in one of a layer's arrays."""

    text: str
    layer: str
    of: str
    place: tuple[int, ...]


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    about = """One forward and one backward of a trained network, and the next update of its optimiser: a table, the
        first problem if there is one, and a page for any browser. More is in docs/trace.md."""
    parser: Parser = commands.add_parser("trace", help="look into a backward pass", description=about)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run directory")
    add("--example", type=whole(0), metavar="N", help="one held-out example; default: the first ones, as a mini-batch")
    add("--data", help="other data than it was trained with: their test part, or all where they have none")
    add("--output", type=Path, metavar="FILE.html", help="the page; default: trace.html, or trace-N.html, in RUN")
    add("--since", type=Path, metavar="RUN", help="another run of the network: what changed since then")
    entries = """a number to explain and to follow to the loss, such as conv_2.kernel[2,2,2,4]; of y, the layer's
        output, what it is the sum of; may be repeated"""
    add("--entry", type=entry, action="append", default=[], metavar="LAYER.ARRAY[INDEX]", help=entries)
    parser.set_defaults(command=Command(parser, trace))


def trace(
    *,
    run: Path,
    example: int | None,
    data: str | None,
    output: Path | None,
    since: Path | None,
    entry: list[Entry],
) -> None:
    """Print the trace, what was asked for of it, and what changed since another run, and write the page."""
    trained = runs.load(run)
    seen, optimizer = runs.traced(trained, example, data)
    wanted = [_described(seen, one) for one in entry]
    moments = runs.moments_of(run, trained, seen)
    file = output or run / ("trace.html" if example is None else f"trace-{example}.html")
    seen.save(file, title=runs.title_of(trained, run.name, example), moments=moments)
    print(seen)
    print(optimizer.rate)
    for text in wanted:
        print(f"\n{text}")
    if since is not None:
        print(f"\nsince {since}:\n{runs.traced(runs.load(since), example, data)[0].diff(seen)}")
    print(f"page: {file}" + (f", with {', '.join(moments)}" if moments else ""))


def entry(text: str) -> Entry:
    """From "conv_2.kernel[2,2,2,4]"."""
    match = ENTRY.fullmatch(text.strip())
    try:
        place = tuple(int(part) for part in (match["index"] or "").split(",") if part.strip()) if match else ()
    except ValueError:
        match = None
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} must be a layer, its array and an index: conv_0.kernel[0,0,0,1]")
    return Entry(text, match["layer"], match["of"], place)


def _described(seen: Trace, wanted: Entry) -> str:
    """An entry's explanation, and its way to the loss; ValueError, which says what there is, for one that is not."""
    names = [step.name for step in seen]
    if wanted.layer not in names:
        raise ValueError(
            f"trace: --entry {wanted.text}: there is no layer {wanted.layer}; there are {', '.join(names)}"
        )
    arrays = _arrays(seen[wanted.layer])
    if wanted.of not in arrays:
        there = ", ".join(f"{of} {shape}" for of, shape in arrays.items())
        raise ValueError(f"trace: --entry {wanted.text}: {wanted.layer} has no {wanted.of}; it has {there}")
    shape = arrays[wanted.of]
    if len(wanted.place) != len(shape) or any(not -n <= i < n for i, n in zip(wanted.place, shape, strict=True)):
        raise ValueError(f"trace: --entry {wanted.text}: {wanted.of} has the shape {shape}")
    of = "y" if wanted.of == seen[wanted.layer].value.name else wanted.of
    explanation = str(seen.explain(wanted.layer, of, wanted.place))
    try:
        return f"{explanation}\n{seen.follow(wanted.layer, of, wanted.place)}"
    except ValueError as error:
        return f"{explanation}\n{error}"


def _arrays(step: Step) -> dict[str, tuple[int, ...]]:
    """The arrays of a layer that have a gradient, and their shapes."""
    return {one.of: one.value.shape for one in step.outgoing} | {step.value.name: step.value.shape}
