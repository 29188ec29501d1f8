"""One page: fnnet against each peer, net by net, in plain words. It needs nothing but a run's records."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

from records import table

from benchmarks.contestants import ALONE, AUTODIFF, TORCH
from benchmarks.results import Results

LEVEL = 0.05  # a share of the peer's time: within it neither is ahead
NONE = "not measured"
PEERS: dict[str, Sequence[str]] = {
    "autodiff": AUTODIFF,
    "Flax NNX": ("flax",),
    "Equinox": ("equinox",),
    "PyTorch": TORCH,
    "PyTorch alone": [name + ALONE for name in TORCH],
}


def page(results: Results, machine: Mapping[str, str]) -> str:
    """The page, in Markdown."""
    ratios = {cell: {peer: ratio(results, cell, PEERS[peer]) for peer in PEERS} for cell in results.cells("steps")}
    measured = [peer for peer in PEERS if any(own[peer] is not None for own in ratios.values())]
    if not measured:
        return "# fnnet and its peers\n\nThere is no training step of fnnet and of a peer in the records.\n"
    rows = [(cell, *(shown(own[peer]) for peer in measured)) for cell, own in ratios.items()]
    parts = [
        "# fnnet and its peers",
        "Each number is the time of fnnet's training step divided by the peer's: 0.5 means that fnnet needs half the "
        f"time. Within {100 * LEVEL:.0f} % they are level. Times are medians, and each side has its fastest way: in a "
        "loop or a scan, with either memory setting, autodiff in either form of pooling, PyTorch in either memory "
        'format. "PyTorch alone" ran while no other contestant\'s process was alive.',
        table(("net and batch", *measured), rows),
        "\n".join(sentence(peer, {cell: own[peer] for cell, own in ratios.items()}) for peer in measured),
        "; ".join(f"{name} {value}" for name, value in machine.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def ratio(results: Results, cell: str, names: Iterable[str]) -> float | None:
    """fnnet's fastest step over the fastest of these contestants; None if either was not measured."""
    settings = results.settings()
    ours = results.fastest("steps", cell, "fnnet", settings)
    others = [seconds for name in names if (seconds := results.fastest("steps", cell, name, settings)) is not None]
    return None if ours is None or not others else ours / min(others)


def verdict(ratio: float) -> str:
    """ "ahead", "level" or "behind"."""
    if abs(ratio - 1) <= LEVEL:
        return "level"
    return "ahead" if ratio < 1 else "behind"


def shown(ratio: float | None) -> str:
    """As in "ahead, 0.52"."""
    return NONE if ratio is None else f"{verdict(ratio)}, {ratio:.2f}"


def sentence(peer: str, ratios: Mapping[str, float | None]) -> str:
    """Where fnnet is ahead of a peer, level with it and behind it."""
    of = {cell: NONE if ratio is None else verdict(ratio) for cell, ratio in ratios.items()}
    parts = [f"{word} on {_cells(own)}" for word in ("ahead", "level", "behind") if (own := _where(of, word))]
    lacking = _where(of, NONE)
    return f"- Against {peer} fnnet is {'; '.join(parts)}." + (f" Not measured: {_cells(lacking)}." if lacking else "")


def _where(of: Mapping[str, str], word: str) -> list[str]:
    return [cell for cell, own in of.items() if own == word]


def _cells(names: Iterable[str]) -> str:
    """As in "cnn (32, 128), mlp (32)": the batches of one net together."""
    nets = itertools.groupby((name.split() for name in names), key=lambda words: words[0])
    return ", ".join(f"{net} ({', '.join(batch for _, batch in own)})" for net, own in nets)
