"""The tables of a run, in Markdown: what was asked and measured first, then every median with its quartiles."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drop_in import EXAMPLES
from records import table

from benchmarks import asked, work
from benchmarks.cells import TORCH
from benchmarks.contestants import CONTESTANTS
from benchmarks.nets import NETS
from benchmarks.results import Results, Summary, summary_of
from fnnet.costs import accelerators

NOISY = 0.1  # cores that others kept busy, from which on a median is marked
MEMORY = {"default": "glibc as it is", "kept": "glibc told to keep its memory"}


def markdown(results: Results, machine: Mapping[str, str]) -> str:
    """The whole page."""
    parts = [
        "# Benchmarks",
        "; ".join(f"{name} {value}" for name, value in machine.items()),
        "Medians of blocks of steps, in milliseconds a step, with the quartiles; the contestants ran in turn, each in "
        f"a process of its own. * marks medians during which others kept more than {NOISY} cores busy.",
        "## Asked and measured",
        _asked(results),
    ]
    for setting in results.settings():
        parts += _steps(results, setting)
    parts += _memory(results)
    for part, title in (("per-example", "Per-example gradients"), ("rules", "Single rules")):
        for setting in results.settings():
            rows, names = _grid(results, part, setting, "call")
            if rows:
                parts += [f"## {title}, {MEMORY[setting]}", table(("", *names), rows)]
    parts += _dropped_in(results) + _first_steps(results) + _trainings(results) + _limits(results)
    parts += _achieved(results, machine.get("device", "")) + _left_out(results)
    return "\n\n".join(parts) + "\n"


def _asked(results: Results) -> str:
    rows = []
    for outcome in asked.outcomes(results):
        reached = {True: "yes", False: "no", None: ""}[outcome.reached]
        worst, best = (f"{ratio:.2f}" if ratio is not None else "" for ratio in (outcome.worst, outcome.best))
        rows.append((outcome.what, outcome.asked, worst, outcome.where, best, outcome.cells, reached))
    head = ("ratio of medians", "at most", "worst", "where", "best", "of", "reached")
    return table(head, rows)


def shown(summary: Summary | None) -> str:
    """The median in milliseconds, with its quartiles."""
    if summary is None:
        return ""
    noisy = "*" if summary.elsewhere is not None and summary.elsewhere > NOISY else ""
    middle, low, high = (_number(1000 * seconds) for seconds in (summary.seconds, summary.low, summary.high))
    return f"{middle}{noisy} ({low}-{high})" if summary.blocks > 1 else f"{middle}{noisy} (once)"


def _processor(summary: Summary | None) -> str:
    return "" if summary is None else f"{summary.cores:.2f}; {summary.faults:.0f}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _steps(results: Results, setting: str) -> list[str]:
    parts = []
    for mode, title in (("loop", "A step in a loop"), ("scan", "A step inside a scan")):
        rows, names = _grid(results, "steps", setting, mode)
        if rows:
            parts += [f"## {title}, {MEMORY[setting]}", table(("net and batch", *names), rows)]
    rows, names = _grid(results, "steps", setting, "loop", _processor)
    if rows:
        parts += [
            "### Cores that it kept busy; page faults of a step in a loop",
            table(("net and batch", *names), rows),
        ]
    return parts


def _grid(
    results: Results, part: str, setting: str, mode: str, show: Callable[[Summary | None], str] = shown
) -> tuple[list[tuple], list[str]]:
    """Rows of cells, columns of contestants that were timed in one of them."""

    def timed(cell: str, name: str) -> Summary | None:
        return results.summary(part, cell, name, setting, mode)

    cells = results.cells(part)
    names = [name for name in CONTESTANTS if any(timed(cell, name) for cell in cells)]
    rows = [(cell, *(show(timed(cell, name)) for name in names)) for cell in cells]
    return [row for row in rows if any(row[1:])], names


def _memory(results: Results) -> list[str]:
    """Bytes and compilation, which the memory setting does not change but by chance: the first that there is."""
    facts: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
        ("temporary_bytes", "loop", "Temporary memory of a step, MB", lambda b: f"{b / 1e6:.1f}"),
        ("temporary_bytes", "scan", "Temporary memory of a scan, MB", lambda b: f"{b / 1e6:.1f}"),
        (
            "kept_bytes",
            "loop",
            "Kept from forward to backward, parameters and inputs included, MB",
            lambda b: f"{b / 1e6:.1f}",
        ),
        ("compile_seconds", "loop", "Tracing and compiling a step, s", lambda s: f"{s:.2f}"),
    )
    parts = []
    for fact, mode, title, show in facts:

        def of(cell: str, name: str, fact: str = fact, mode: str = mode) -> float | None:
            found = [results.fact("steps", cell, name, setting, mode, fact) for setting in results.settings()]
            return next((value for value in found if value is not None), None)

        cells = results.cells("steps")
        names = [name for name in CONTESTANTS if any(of(cell, name) is not None for cell in cells)]
        if names:
            values = [(cell, [of(cell, name) for name in names]) for cell in cells]
            rows = [(cell, *("" if value is None else show(value) for value in own)) for cell, own in values]
            parts += [f"## {title}", table(("net and batch", *names), rows)]
    return parts


def _dropped_in(results: Results) -> list[str]:
    rows = []
    for cell in results.cells("drop-in"):
        contestant = EXAMPLES[cell][0]
        for setting in results.settings():
            own = [results.summary("drop-in", cell, contestant, setting, mode) for mode in ("before", "after")]
            if own[0] is not None and own[1] is not None:
                rows.append((cell, setting, shown(own[0]), shown(own[1]), f"{own[1].seconds / own[0].seconds:.2f}"))
    head = ("example", "memory", "before", "with fnnet's functions", "ratio")
    return ["## Dropped into other libraries", table(head, rows)] if rows else []


def _first_steps(results: Results) -> list[str]:
    rows = []
    for record in results.of("first-step"):
        summary = summary_of(record)
        if summary is not None:
            quartiles = f"{summary.low:.2f}-{summary.high:.2f}"
            rows.append(
                (
                    record["cell"],
                    record["mode"],
                    record["contestant"],
                    record["setting"],
                    f"{summary.seconds:.2f} ({quartiles})",
                )
            )
    head = ("net and batch", "JAX's compilation", "contestant", "memory", "seconds")
    return ["## From the start of Python to the end of the first step", table(head, rows)] if rows else []


def _trainings(results: Results) -> list[str]:
    rows: list[Sequence[Any]] = []
    for name in CONTESTANTS:
        for setting in results.settings():
            own = [r for r in results.of("mnist") if (r["contestant"], r["setting"]) == (name, setting) and r["facts"]]
            if own:
                seconds = asked.training_seconds(results, name, setting)
                each = ", ".join(f"{r['samples'][0][1]:.1f}" for r in own)
                epochs = ", ".join(f"{r['facts']['epochs']:.0f}" for r in own)
                of_one = ", ".join(f"{r['facts']['epoch_seconds']:.2f}" for r in own)
                right = ", ".join(f"{100 * r['facts']['accuracy']:.2f}" for r in own)
                median = "not reached" if seconds is None else f"{seconds:.1f}"
                rows.append((name, setting, median, each, epochs, of_one, right))
    head = ("contestant", "memory", "median, s", "each seed, s", "epochs", "s an epoch", "% right at the end")
    return ["## MNIST: from the start of Python to 99 % of the test images", table(head, rows)] if rows else []


def _limits(results: Results) -> list[str]:
    products, stream = asked.product_rate(results), asked.stream_rate(results)
    if products is None or stream is None:
        return []
    rows = []
    for cell in results.cells("steps"):
        name, batch = cell.split()
        net = NETS[name]
        flops, traffic = work.step_flops(net, int(batch)), work.step_bytes(net, int(batch))
        times = [
            asked.fastest(results, "steps", cell, ("fnnet",), setting, asked.WAYS) for setting in results.settings()
        ]
        best = min((seconds for seconds in times if seconds is not None), default=None)
        ratio = "" if best is None else f"{best * products / flops:.2f}"
        rows.append((cell, _number(1000 * flops / products), _number(1000 * traffic / stream), ratio))
    head = ("net and batch", "direct products, ms", "traffic with memory, ms", "fnnet's fastest over the products")
    title = f"## Limits: {products / 1e9:.0f} GFLOP/s in square products, {stream / 1e9:.1f} GB/s"
    return [title, table(head, rows)] if rows else [title]


def _achieved(results: Results, device_kind: str) -> list[str]:
    """FLOPs a second of the direct products, of each contestant on JAX, and their share of the device's peak in f32."""
    device = accelerators.known(device_kind)
    peak = None if device is None else device.f32
    rows = []
    for cell in results.cells("steps"):
        name, batch = cell.split()
        flops = work.step_flops(NETS[name], int(batch))
        for contestant in CONTESTANTS:
            times = [
                asked.fastest(results, "steps", cell, (contestant,), setting, asked.WAYS)
                for setting in results.settings()
            ]
            best = min((seconds for seconds in times if seconds is not None), default=None)
            if best is not None and contestant not in TORCH:  # which computes on the CPU
                share = "unknown" if peak is None else f"{100 * flops / best / peak:.1f} %"
                rows.append((cell, contestant, _number(flops / best / 1e9), share))
    shown = "unknown" if device is None or peak is None else f"{peak / 1e12:.1f} TFLOP/s, {device.source}"
    head = ("net and batch", "contestant", "GFLOP/s, fastest way", "of the peak")
    title = f"## FLOPs a second on {device_kind or 'a device of unknown kind'}; its peak in f32: {shown}"
    return [title, table(head, rows)] if rows else []


def _left_out(results: Results) -> list[str]:
    lines = [
        f"- {record['part']}, {record['cell']}, {record['contestant']}, {record['setting']} memory, {record['mode']}: "
        f"{record['problem']}"
        for record in results.records
        if record["problem"] and not record["unsupported"]
    ]
    return ["## Left out", "\n".join(lines)] if lines else []
