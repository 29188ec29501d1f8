"""What fnnet has set itself to reach, and what was measured: every ratio of a row, its worst, and whether that will do.

All ratios are of fnnet to the fastest of the peers that a row names, under the same memory setting, within one cell.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from benchmarks import work
from benchmarks.cells import POOLINGS, TORCH
from benchmarks.contestants import AUTODIFF
from benchmarks.nets import NETS
from benchmarks.results import Results

FAST = "torch-channels-last"
Ratios = dict[str, float]  # by the cell and the memory setting


class Row(NamedTuple):
    """One line of the table."""

    what: str
    asked: float
    ratios: Callable[[Results], Ratios]


class Outcome(NamedTuple):
    """A row's worst ratio and where it was found; None where nothing was measured."""

    what: str
    asked: float
    worst: float | None
    where: str
    best: float | None
    cells: int

    @property
    def reached(self) -> bool | None:
        """Whether the worst ratio is within what was asked."""
        return None if self.worst is None else self.worst <= self.asked


def fastest(
    results: Results, part: str, cell: str, contestants: Iterable[str], setting: str, modes: Iterable[str]
) -> float | None:
    """The least median among contestants and modes."""
    modes = tuple(modes)
    found = [results.seconds(part, cell, name, setting, mode) for name in contestants for mode in modes]
    return min((seconds for seconds in found if seconds is not None), default=None)


def against(
    part: str,
    peers: Iterable[str],
    cells: Callable[[str], bool] = lambda cell: True,
    ours: Iterable[str] = ("loop",),
    theirs: Iterable[str] = ("loop",),
) -> Callable[[Results], Ratios]:
    """fnnet's fastest mode of `ours` over the fastest of the peers in modes `theirs`."""

    def ratios(results: Results) -> Ratios:
        found = {}
        for cell in filter(cells, results.cells(part)):
            for setting in results.settings():
                own = fastest(results, part, cell, ("fnnet",), setting, ours)
                other = fastest(results, part, cell, peers, setting, theirs)
                if own is not None and other is not None:
                    found[f"{cell}, {setting}"] = own / other
        return found

    return ratios


def nets(*names: str) -> Callable[[str], bool]:
    return lambda cell: cell.split()[0] in names


def temporary(results: Results) -> Ratios:
    """Bytes of fnnet's compiled step over those of autodiff's smaller form."""
    found = {}
    for cell in filter(nets("cnn", "vgg"), results.cells("steps")):
        for setting in results.settings():

            def of(name: str, cell: str = cell, setting: str = setting) -> float | None:
                return results.fact("steps", cell, name, setting, "loop", "temporary_bytes")

            own, others = of("fnnet"), [bytes for bytes in map(of, AUTODIFF) if bytes is not None]
            if own is not None and others:
                found[f"{cell}, {setting}"] = own / min(others)
    return found


def product_rate(results: Results) -> float | None:
    """Operations a second of the best square product that any contestant made."""
    rates = []
    for record in results.of("limits"):
        kind, size = record["cell"].split()
        seconds = results.seconds(*(record[name] for name in ("part", "cell", "contestant", "setting", "mode")))
        if kind == "product" and seconds is not None:
            rates.append(2 * int(size) ** 3 / seconds)
    return max(rates, default=None)


def stream_rate(results: Results) -> float | None:
    """Bytes a second, read and written, of the best addition in place."""
    rates = []
    for record in results.of("limits"):
        kind, numbers = record["cell"].split()
        seconds = results.seconds(*(record[name] for name in ("part", "cell", "contestant", "setting", "mode")))
        if kind == "stream" and seconds is not None:
            rates.append(2 * work.BYTES * int(numbers) / seconds)
    return max(rates, default=None)


def products(results: Results) -> Ratios:
    """fnnet's fastest step over the time of its direct products at the best rate."""
    rate, found = product_rate(results), {}
    if rate is None:
        return {}
    for cell in results.cells("steps"):
        net, batch = cell.split()
        if net == "vgg" or cell == "cnn 512":
            for setting in results.settings():
                own = fastest(results, "steps", cell, ("fnnet",), setting, ("loop", "scan"))
                if own is not None:
                    found[f"{cell}, {setting}"] = own * rate / work.step_flops(NETS[net], int(batch))
    return found


def trainings(results: Results) -> Ratios:
    """Medians over seeds of the seconds to 99 %."""
    found = {}
    for setting in results.settings():
        own = training_seconds(results, "fnnet", setting)
        others = [training_seconds(results, name, setting) for name in (*TORCH, "flax")]
        known = [seconds for seconds in others if seconds is not None]
        if own is not None and known:
            found[f"MNIST, {setting}"] = own / min(known)
    return found


def training_seconds(results: Results, contestant: str, setting: str) -> float | None:
    """The median over the seeds; None where one did not get there."""
    own = [r for r in results.of("mnist") if (r["contestant"], r["setting"]) == (contestant, setting)]
    if not own or any(record["problem"] for record in own):
        return None
    seconds = sorted(record["samples"][0][1] for record in own)
    return float(seconds[len(seconds) // 2])


def pooling(want: str) -> Callable[[str], bool]:
    return lambda cell: cell.rpartition(": ")[0] in POOLINGS and cell.endswith(f": {want}")


EACH_PEER = ("flax", "equinox", *AUTODIFF)
WAYS = ("loop", "scan")
ROWS = (
    Row(
        "cnn, lenet: a step against the fastest of Flax NNX, Equinox and autodiff",
        0.5,
        against("steps", EACH_PEER, nets("cnn", "lenet")),
    ),
    Row(
        "a step inside a scan against autodiff inside a scan, cnn",
        0.06,
        against("steps", AUTODIFF, nets("cnn"), ("scan",), ("scan",)),
    ),
    Row(
        "a step inside a scan against autodiff's fastest way, cnn, lenet",
        0.5,
        against("steps", AUTODIFF, nets("cnn", "lenet"), ("scan",), WAYS),
    ),
    Row(
        "max-pool, output and gradient, against the faster autodiff",
        0.3,
        against("rules", AUTODIFF, pooling("both"), ("call",), ("call",)),
    ),
    Row(
        "max-pool, backward alone, against select-and-scatter",
        0.1,
        against("rules", ("autodiff",), pooling("backward"), ("call",), ("call",)),
    ),
    Row(
        "cnn, lenet, mlp against PyTorch channels_last, both in a loop",
        0.85,
        against("steps", (FAST,), nets("cnn", "lenet", "mlp")),
    ),
    Row(
        "cnn, lenet, mlp against PyTorch channels_last, in fnnet's faster way",
        0.85,
        against("steps", (FAST,), nets("cnn", "lenet", "mlp"), WAYS),
    ),
    Row("vgg against PyTorch channels_last", 1.0, against("steps", (FAST,), nets("vgg"))),
    Row("depthwise net against the faster autodiff", 0.3, against("steps", AUTODIFF, nets("depthwise"))),
    Row("depthwise net against the faster PyTorch", 1.0, against("steps", TORCH, nets("depthwise"))),
    Row("vgg, cnn 512 against the limit of matrix products", 1.5, products),
    Row("mlp against autodiff", 1.05, against("steps", AUTODIFF, nets("mlp"))),
    Row("temporary memory, cnn and vgg, against autodiff", 0.35, temporary),
    Row(
        "per-example gradients against the faster autodiff",
        0.5,
        against("per-example", AUTODIFF, ours=("call",), theirs=("call",)),
    ),
    Row(
        "per-example gradients against torch.func",
        0.5,
        against("per-example", TORCH, ours=("call",), theirs=("call",)),
    ),
    Row("time to 99 % on MNIST against the faster of PyTorch and Flax NNX", 0.7, trainings),
    Row(
        "import and first step of cnn against PyTorch",
        1.0,
        against("first-step", TORCH, nets("cnn"), ("first step",), ("first step",)),
    ),
)


def outcomes(results: Results) -> list[Outcome]:
    """Every row's."""
    found = []
    for row in ROWS:
        ratios = row.ratios(results)
        where = max(ratios, key=ratios.__getitem__, default="")
        best = min(ratios.values(), default=None)
        found.append(Outcome(row.what, row.asked, ratios.get(where), where, best, len(ratios)))
    return found
