"""The picture of a run: a step of each network, by contestant, under the setting that is best for all."""

from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS
from benchmarks.results import Results


def draw(results: Results, path: Path) -> bool:
    """One panel a network, bars in milliseconds a step with their quartiles; False where no step was measured."""
    cells = results.cells("steps")
    if not cells:
        return False
    from matplotlib.figure import Figure

    setting = results.settings()[-1]
    nets = list(dict.fromkeys(cell.split()[0] for cell in cells))
    columns = min(len(nets), 3)
    figure = Figure(figsize=(5 * columns, 3.4 * -(-len(nets) // columns)), layout="constrained")
    for position, net in enumerate(nets):
        axes = figure.add_subplot(-(-len(nets) // columns), columns, position + 1)
        _panel(axes, results, setting, [cell for cell in cells if cell.split()[0] == net])
        axes.set_title(net)
        if position % columns == 0:
            axes.set_ylabel("ms a step")
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=120)
    return True


def _panel(axes: Any, results: Results, setting: str, cells: list[str]) -> None:
    bars = [(name, mode) for name in CONTESTANTS for mode in ("loop", "scan")]
    found = {
        bar: [results.summary("steps", cell, bar[0], setting, bar[1]) for cell in cells]
        for bar in bars
        if any(results.summary("steps", cell, bar[0], setting, bar[1]) for cell in cells)
    }
    width = 0.8 / len(found)
    for position, ((name, mode), summaries) in enumerate(found.items()):
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
    axes.set_xticks(range(len(cells)), [f"batch {cell.split()[1]}" for cell in cells])
