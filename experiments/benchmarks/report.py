"""The tables of a run, in Markdown: every median with its quartiles, fnnet's share of the others' times, and limits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drop_in import EXAMPLES
from records import table

from benchmarks import verdicts, work
from benchmarks.contestants import ALONE, CONTESTANTS, TORCH
from benchmarks.nets import NETS
from benchmarks.results import Results, Summary, summary_of
from fnnet.costs import accelerators

NOISY = 0.1  # cores that other processes kept busy, from which on a median is marked
MEMORY = {"default": "glibc as it is", "kept": "glibc told to keep its memory"}
TITLES = {"steps": "Steps", "per-example": "Per-example gradients", "rules": "Single rules"}


def markdown(results: Results, machine: Mapping[str, str]) -> str:
    """The whole page."""
    parts = [
        verdicts.page(results, {}).strip(),
        "# Benchmarks",
        "; ".join(f"{name} {value}" for name, value in machine.items()),
        "Medians of blocks of steps, in milliseconds a step, with the quartiles; the contestants ran in turn, each in "
        f'a process of its own, or "alone", when there was no other process. * marks medians during which others kept '
        f"more than {NOISY} cores busy.",
    ]
    for setting in results.settings():
        parts += _steps(results, setting)
        for part in ("per-example", "rules"):
            parts += _grid(results, part, f"{TITLES[part]}, {MEMORY[setting]}", setting, "call")
        for part, title in TITLES.items():
            parts += _ratios(results, part, f"{title}, {MEMORY[setting]}: fnnet's time over the other's", setting)
    parts += _memory(results) + _dropped_in(results) + _first_steps(results) + _trainings(results) + _limits(results)
    return "\n\n".join([*parts, *_achieved(results, machine.get("device", "")), *_left_out(results)]) + "\n"


def shown(summary: Summary | None) -> str:
    """The median in milliseconds, with its quartiles."""
    if summary is None:
        return ""
    noisy = "*" if summary.elsewhere is not None and summary.elsewhere > NOISY else ""
    middle, low, high = (_number(1000 * seconds) for seconds in (summary.seconds, summary.low, summary.high))
    return f"{middle}{noisy} ({low}-{high})" if summary.blocks > 1 else f"{middle}{noisy} (once)"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _section(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    return [f"## {title}", table(head, rows)] if rows else []


def _by_contestant(results: Results, part: str, title: str, show: Callable[[str, str], str]) -> list[str]:
    """A row for each cell, a column for each contestant of which show(cell, contestant) says something."""
    columns = [name + how for name in CONTESTANTS for how in ("", ALONE)]
    cells = {cell: {name: show(cell, name) for name in columns} for cell in results.cells(part)}
    names = [name for name in columns if any(own[name] for own in cells.values())]
    rows = [(cell, *(own[name] for name in names)) for cell, own in cells.items() if any(own.values())]
    return _section(title, (part, *names), rows)


def _grid(results: Results, part: str, title: str, setting: str, mode: str) -> list[str]:
    return _by_contestant(
        results, part, title, lambda cell, name: shown(results.summary(part, cell, name, setting, mode))
    )


def _ratios(results: Results, part: str, title: str, setting: str) -> list[str]:
    """Of each contestant's fastest way, be it a loop or a scan."""

    def ratio(cell: str, name: str) -> str:
        ours, other = (results.fastest(part, cell, who, [setting]) for who in ("fnnet", name))
        return "" if name == "fnnet" or ours is None or other is None else f"{ours / other:.2f}"

    return _by_contestant(results, part, title, ratio)


def _steps(results: Results, setting: str) -> list[str]:
    def processor(cell: str, name: str) -> str:
        summary = results.summary("steps", cell, name, setting, "loop")
        return "" if summary is None else f"{summary.cores:.2f}; {summary.faults:.0f}"

    busy = f"Cores that a step in a loop kept busy; its page faults, {MEMORY[setting]}"
    return [
        *_grid(results, "steps", f"A step in a loop, {MEMORY[setting]}", setting, "loop"),
        *_grid(results, "steps", f"A step inside a scan, {MEMORY[setting]}", setting, "scan"),
        *_by_contestant(results, "steps", busy, processor),
    ]


def _memory(results: Results) -> list[str]:
    """What depends on the memory setting only by chance: of the first setting that there is."""
    facts = (
        ("temporary_bytes", "loop", "Temporary memory of a step, MB", 1e6),
        ("temporary_bytes", "scan", "Temporary memory of a scan, MB", 1e6),
        ("compile_seconds", "loop", "Tracing and compiling a step, s", 1),
        ("departure", "loop", "Distance from double precision, as a share of the distance allowed", 1),
    )
    parts: list[str] = []
    for fact, mode, title, unit in facts:

        def show(cell: str, name: str, fact: str = fact, mode: str = mode, unit: float = unit) -> str:
            found = [results.fact(fact, "steps", cell, name, setting, mode) for setting in results.settings()]
            return next((f"{value / unit:.2f}" for value in found if value is not None), "")

        parts += _by_contestant(results, "steps", title, show)
    return parts


def _dropped_in(results: Results) -> list[str]:
    rows = []
    for cell in results.cells("drop-in"):
        for setting in results.settings():
            modes = ("before", "after")
            own = [results.summary("drop-in", cell, EXAMPLES[cell][0], setting, mode) for mode in modes]
            if own[0] is not None and own[1] is not None:
                rows.append((cell, setting, *map(shown, own), f"{own[1].seconds / own[0].seconds:.2f}"))
    head = ("example", "memory", "before", "with fnnet's functions", "ratio")
    return _section("Dropped into other libraries", head, rows)


def _first_steps(results: Results) -> list[str]:
    rows = [
        (*(record[name] for name in ("cell", "mode", "contestant", "setting")),
         f"{summary.seconds:.2f} ({summary.low:.2f}-{summary.high:.2f})")
        for record in results.of("first-step")
        if (summary := summary_of(record)) is not None
    ]  # fmt: skip
    head = ("net and batch", "JAX's compilation", "contestant", "memory", "seconds")
    return _section("From the start of Python to the end of the first step", head, rows)


def _trainings(results: Results) -> list[str]:
    rows = []
    for name in CONTESTANTS:
        for setting in results.settings():
            own = [r for r in results.of("mnist") if (r["contestant"], r["setting"]) == (name, setting) and r["facts"]]
            if own:
                seconds = sorted(record["samples"][0][1] for record in own)
                reached = not any(record["problem"] for record in own)
                columns = [
                    f"{seconds[len(seconds) // 2]:.1f}" if reached else "not reached",
                    ", ".join(f"{record['samples'][0][1]:.1f}" for record in own),
                    ", ".join(f"{record['facts']['epochs']:.0f}" for record in own),
                    ", ".join(f"{record['facts']['epoch_seconds']:.2f}" for record in own),
                    ", ".join(f"{100 * record['facts']['accuracy']:.2f}" for record in own),
                ]
                rows.append((name, setting, *columns))
    head = ("contestant", "memory", "median, s", "each seed, s", "epochs", "s an epoch", "% right at the end")
    return _section("MNIST: from the start of Python to 99 % of the test images", head, rows)


def best_rate(results: Results, kind: str, work_of: Callable[[int], float]) -> float | None:
    """The most work a second in the cells of the part "limits" that are named after a kind and a size."""
    rates = []
    for record in results.of("limits"):
        name, size = record["cell"].split()
        summary = summary_of(record)
        if name == kind and summary is not None:
            rates.append(work_of(int(size)) / summary.seconds)
    return max(rates, default=None)


def _limits(results: Results) -> list[str]:
    """What the products of a step, made at the best rate, would take, and its traffic with memory."""
    products = best_rate(results, "product", lambda size: 2 * size**3)
    stream = best_rate(results, "stream", lambda numbers: 2 * work.BYTES * numbers)  # each is read and written
    if products is None or stream is None:
        return []
    rows = []
    for cell in results.cells("steps"):
        net, batch = _net(cell)
        flops, traffic = work.step_flops(net, batch), work.step_bytes(net, batch)
        best = results.fastest("steps", cell, "fnnet", results.settings())
        ratio = "" if best is None else f"{best * products / flops:.2f}"
        rows.append((cell, _number(1000 * flops / products), _number(1000 * traffic / stream), ratio))
    head = ("net and batch", "direct products, ms", "traffic with memory, ms", "fnnet's fastest over the products")
    title = f"Limits: {products / 1e9:.0f} GFLOP/s in square products, {stream / 1e9:.1f} GB/s"
    return _section(title, head, rows) or [f"## {title}"]


def _achieved(results: Results, device_kind: str) -> list[str]:
    """FLOPs a second of the direct products, of each contestant on JAX, and their share of the device's peak in f32."""
    device = accelerators.known(device_kind)
    peak = None if device is None else device.f32
    rows = []
    for cell in results.cells("steps"):
        flops = work.step_flops(*_net(cell))
        for contestant in CONTESTANTS:
            best = results.fastest("steps", cell, contestant, results.settings())
            if best is not None and contestant not in TORCH:  # which computes on the CPU
                share = "unknown" if peak is None else f"{100 * flops / best / peak:.1f} %"
                rows.append((cell, contestant, _number(flops / best / 1e9), share))
    of_peak = "unknown" if device is None or peak is None else f"{peak / 1e12:.1f} TFLOP/s, {device.source}"
    title = f"FLOPs a second on {device_kind or 'a device of unknown kind'}; its peak in f32: {of_peak}"
    return _section(title, ("net and batch", "contestant", "GFLOP/s, fastest way", "of the peak"), rows)


def _net(cell: str) -> tuple[Any, int]:
    """The network and the size of the mini-batch that a cell of steps is named after."""
    name, batch = cell.split()
    return NETS[name], int(batch)


def _left_out(results: Results) -> list[str]:
    lines = [
        f"- {record['part']}, {record['cell']}, {record['contestant']}, {record['setting']} memory, {record['mode']}: "
        f"{record['problem']}"
        for record in results.records
        if record["problem"] and not record["unsupported"]
    ]
    return ["## Left out", "\n".join(lines)] if lines else []
