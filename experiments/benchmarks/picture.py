"""The picture of a run: a step of each network, by contestant."""

from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS
from benchmarks.results import Results, Summary

Bars = dict[tuple[str, str], list[Summary | None]]  # by contestant and mode, one for each cell


def draw(results: Results, path: Path) -> bool:
    """One panel a network, bars in milliseconds a step with their quartiles; False where no step was timed."""
    by_net: dict[str, list[str]] = {}
    for cell in results.cells("steps"):
        by_net.setdefault(cell.split()[0], []).append(cell)
    panels = {net: panel for net, cells in by_net.items() if (panel := _timed(results, cells))}
    if not panels:
        return False
    from matplotlib.figure import Figure

    columns = min(len(panels), 3)
    figure = Figure(figsize=(5 * columns, 3.4 * -(-len(panels) // columns)), layout="constrained")
    for position, (net, (setting, bars)) in enumerate(panels.items()):
        axes = figure.add_subplot(-(-len(panels) // columns), columns, position + 1)
        _panel(axes, bars)
        axes.set_xticks(range(len(by_net[net])), [f"batch {cell.split()[1]}" for cell in by_net[net]])
        axes.set_title(f"{net}, {setting} memory")
        if position % columns == 0:
            axes.set_ylabel("ms a step")
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=120)
    return True


def _timed(results: Results, cells: list[str]) -> tuple[str, Bars] | None:
    """The last memory setting under which a program of these cells was timed, and the bars of it."""
    for setting in reversed(results.settings()):
        found = {
            (name, mode): summaries
            for name in CONTESTANTS
            for mode in ("loop", "scan")
            if any(summaries := [results.summary("steps", cell, name, setting, mode) for cell in cells])
        }
        if found:
            return setting, found
    return None


def _panel(axes: Any, bars: Bars) -> None:
    width = 0.8 / len(bars)
    for position, ((name, mode), summaries) in enumerate(bars.items()):
        places = [i - 0.4 + (position + 0.5) * width for i, own in enumerate(summaries) if own is not None]
        known = [own for own in summaries if own is not None]
        axes.bar(
            places,
            [1000 * own.seconds for own in known],
            width,
            yerr=[
                [1000 * (own.seconds - own.low) for own in known],
                [1000 * (own.high - own.seconds) for own in known],
            ],
            color=f"C{list(CONTESTANTS).index(name)}",
            hatch="//" if mode == "scan" else None,
            edgecolor="white",
            label=f"{name}, {mode}",
            error_kw={"linewidth": 0.8},
        )
    axes.set_yscale("log")
