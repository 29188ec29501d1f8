"""A trace as a table in text."""

from typing import Any

from fnnet.tracing.numbers import Numbers
from fnnet.tracing.records import Outgoing

NAMES = (
    "layer",
    "output",
    "rms of y",
    "rms of y_bar",
    "saved",
    "cotangent of",
    "rms",
    "zeros",
    "off autodiff",
    "update / weight",
)

WORDS = (0, 1, 5)  # the columns of words; the others hold numbers


def table(trace: Any) -> str:
    """A line for each outgoing cotangent, without the columns that are empty in all of them."""
    rows = [NAMES, *cells(trace)]
    columns = [i for i, column in enumerate(zip(*rows, strict=True)) if any(column[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in columns}
    lines = [
        "  ".join(f"{row[i]:<{width}}" if i in WORDS else f"{row[i]:>{width}}" for i, width in widths.items()).rstrip()
        for row in rows
    ]
    return "\n".join([caption(trace), lines[0], "-" * max(map(len, lines)), *lines[1:]])


def caption(trace: Any) -> str:
    """The loss, and of how many examples."""
    of = "one example" if trace.batch is None else f"{trace.batch} examples"
    after = "" if trace.loss_after is None else f", after the update {trace.loss_after:.4g}"
    return f"loss {trace.loss:.4g} of {of}{after}"


def cells(trace: Any) -> list[tuple[str, ...]]:
    """The rows of the table, a row for each outgoing cotangent."""
    rows: list[tuple[str, ...]] = []
    for step in trace.steps:
        sizes = " x ".join(map(str, step.value.shape)) or "1"
        first = (step.name, sizes, _short(step.value), _short(step.incoming), f"{step.saved_bytes:,}")
        for one in step.outgoing or (None,):
            if one is None:
                rows.append((*first, "", "", "", "", ""))
                continue
            ratio = "" if one.update is None else f"{one.ratio:.2g}" if one.value.whole_rms else "from 0"
            rows.append((*first, one.of, _short(one.numbers), _zeros(one.numbers), _off(one), ratio))
            first = ("",) * 5
    return rows


def _short(one: Numbers) -> str:
    return f"{one.whole_rms:.3g}"


def _zeros(one: Numbers) -> str:
    """The share of zeros; nan where every entry is NaN."""
    return "nan" if one.nans and one.nans == one.array.size else f"{100 * one.zeros:.0f} %"


def _off(one: Outgoing) -> str:
    """How far off autodiff; nan where that cannot be said: entries are not finite, in autodiff neither."""
    if one.agreement is None:
        return ""
    off = one.agreement.largest
    return f"{off:.1g}" if one.numbers.is_finite or off == float("inf") else "nan"
