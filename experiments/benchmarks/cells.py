"""The cells of each part of a run: what is compared with what."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from drop_in import EXAMPLES

from benchmarks import work
from benchmarks.carry import carried
from benchmarks.contestants import AUTODIFF, CONTESTANTS, TORCH
from benchmarks.crew import JUDGE, Crew, Worker
from benchmarks.inputs import batches, noise
from benchmarks.nets import Net
from benchmarks.rounds import Entry
from benchmarks.tasks import Convolution, DropIn, PerExample, Pooling, Product, Rule, Stream, Task, Training

PASS_FLOPS = 40 * 10**9  # of one pass over the mini-batches, which a scan takes in one call
MOST_BYTES = 2**30  # of the gradients of all examples together

POOLINGS = {
    "max-pool 2, stride 2": Pooling((128, 28, 28, 32), 2, 2),
    "max-pool 2, stride 2, wide": Pooling((128, 32, 32, 64), 2, 2),
    "max-pool 2, stride 1": Pooling((128, 28, 28, 32), 2, 1),
    "max-pool 3, stride 3": Pooling((128, 28, 28, 32), 3, 3),
    "max-pool 3, stride 2": Pooling((128, 28, 28, 32), 3, 2),
    "max-pool 3, stride 1": Pooling((128, 14, 14, 64), 3, 1),
    "max-pool 5, stride 2": Pooling((128, 28, 28, 32), 5, 2),
    "max-pool 7, stride 1": Pooling((128, 14, 14, 64), 7, 1),
    "max-pool 3, stride 1, dilation 2": Pooling((128, 14, 14, 64), 3, 1, 2),
}
FIRST = ("forward", "kernel")  # a first layer's input needs no gradient
CONVOLUTIONS = {
    "first 3x3, 1 to 32": Convolution((128, 28, 28, 1), 32, 3, padding=1, wants=FIRST),
    "first 5x5, 1 to 6": Convolution((128, 28, 28, 1), 6, 5, padding=2, wants=FIRST),
    "first 3x3, 3 to 64": Convolution((128, 32, 32, 3), 64, 3, padding=1, wants=FIRST),
    "3x3, 32 to 64": Convolution((128, 14, 14, 32), 64, 3, padding=1),
    "3x3, 32 to 64, batch 512": Convolution((512, 14, 14, 32), 64, 3, padding=1),
    "3x3, 64 to 64": Convolution((128, 32, 32, 64), 64, 3, padding=1),
    "3x3, 128 to 128": Convolution((128, 16, 16, 128), 128, 3, padding=1),
    "5x5, 6 to 16": Convolution((128, 14, 14, 6), 16, 5),
    "1x1, 128 to 256": Convolution((128, 16, 16, 128), 256, 1),
    "3x3, 32 to 64, stride 2": Convolution((128, 28, 28, 32), 64, 3, 2, 1),
    "3x3, 64 to 64, dilation 2": Convolution((128, 14, 14, 64), 64, 3, 1, 2, 2),
    "3x3, 64 to 64, 4 groups": Convolution((128, 14, 14, 64), 64, 3, 1, 1, groups=4),
    "3x3, 128 to 128, 32 groups": Convolution((128, 14, 14, 128), 128, 3, 1, 1, groups=32),
    "depthwise 3x3, 64": Convolution((128, 28, 28, 64), 64, 3, 1, 1, groups=64),
    "depthwise 3x3, 128, stride 2": Convolution((128, 16, 16, 128), 128, 3, 2, 1, groups=128),
}


@dataclass(frozen=True)
class Plan:
    """What a run compares; `quick` shrinks what has no option."""

    nets: Sequence[Net]
    batches: Sequence[int]
    quick: bool = False


class Cell(NamedTuple):
    """Programs whose times are compared.

    They have to agree with autodiff of `reference` in double precision, or within `tolerance` with their median.
    """

    part: str
    name: str
    entries: list[Entry]
    tolerance: float
    reference: Callable[[], Task] | None = None


def steps(plan: Plan, crew: Crew) -> Iterator[Cell]:
    """A training step, in a loop and in a scan, of each net and batch."""
    for net in plan.nets:
        for batch in plan.batches:
            number = 3 if plan.quick else min(max(PASS_FLOPS // work.step_flops(net, batch), 3), 16)
            xs, ys = batches(net, number, batch)
            entries = [
                Entry(worker, mode, partial(_training, worker, net, mode, xs, ys))
                for worker in crew.workers
                for mode in (("loop", "scan") if CONTESTANTS[worker.contestant].scans else ("loop",))
            ]
            reference = partial(_reference, Training, net, "loop", xs=xs, ys=ys)
            yield Cell("steps", f"{net.name} {batch}", entries, 1e-4, reference)


def per_example(plan: Plan, crew: Crew) -> Iterator[Cell]:
    """The gradient of each example of a mini-batch of images; with batch norm an example has none of its own."""
    for net in plan.nets:
        for batch in plan.batches:
            if net.of_batch or net.vocabulary is not None:
                continue
            if work.BYTES * work.parameters(net) * batch > MOST_BYTES:
                continue
            (xs,), (ys,) = batches(net, 1, batch)
            entries = [
                Entry(worker, "call", partial(_per_example, worker, net, xs, ys))
                for worker in crew.of(("fnnet", *AUTODIFF, *TORCH))
            ]
            reference = partial(_reference, PerExample, net, xs=xs, ys=ys)
            yield Cell("per-example", f"{net.name} {batch}", entries, 1e-4, reference)


def rules(plan: Plan, crew: Crew) -> Iterator[Cell]:
    """Single rules: output and gradients of max-poolings and convolutions."""
    cases: dict[str, Pooling | Convolution] = {**POOLINGS, **CONVOLUTIONS}
    for name, case in cases.items():
        if plan.quick:
            case = replace(case, shape=(2, *case.shape[1:]))
        for want in case.wants:
            task = partial(_rule, case, want)
            entries = [Entry(worker, "call", task) for worker in crew.of(("fnnet", *AUTODIFF, *TORCH))]
            yield Cell("rules", f"{name}: {want}", entries, 1e-3)


def drop_in(plan: Plan, crew: Crew) -> Iterator[Cell]:
    """The examples of experiments/drop_in, before and after."""
    for example, (contestant, net, batch) in EXAMPLES.items():
        xs, ys = batches(net, 3 if plan.quick else 8, 4 if plan.quick else batch)
        entries = [
            Entry(worker, mode, partial(DropIn, example, mode == "after", xs, ys))
            for worker in crew.of((contestant,))
            for mode in ("before", "after")
        ]
        if entries:
            yield Cell("drop-in", example, entries, 1e-4)


def limits(plan: Plan, crew: Crew) -> Iterator[Cell]:
    """What the machine can do: products of matrices, and traffic with memory."""
    workers = crew.of(("autodiff", "torch"))
    for size in (256,) if plan.quick else (1024, 2048, 4096):
        yield Cell("limits", f"product {size}", [Entry(w, "call", partial(Product, size)) for w in workers], 1e-3)
    numbers = 2**20 if plan.quick else 2**26
    yield Cell("limits", f"stream {numbers}", [Entry(w, "call", partial(Stream, numbers)) for w in workers], 1e-3)


PARTS: dict[str, Callable[[Plan, Crew], Iterator[Cell]]] = {
    "limits": limits,
    "steps": steps,
    "per-example": per_example,
    "rules": rules,
    "drop-in": drop_in,
}


def _training(worker: Worker, net: Net, mode: str, xs: Any, ys: Any) -> Training:
    return Training(net, mode, carried(worker.contestant, net, worker.ask("shapes", net)), xs, ys)


def _per_example(worker: Worker, net: Net, xs: Any, ys: Any) -> PerExample:
    return PerExample(net, carried(worker.contestant, net, worker.ask("shapes", net)), xs, ys)


def _reference(task: Callable[..., Task], net: Net, *mode: str, xs: Any, ys: Any) -> Task:
    return task(net, *mode, arrays=carried(JUDGE, net, {}), xs=xs, ys=ys)


def _rule(case: Pooling | Convolution, want: str) -> Rule:
    x = noise(*case.shape, seed=0)
    kernel, padding, features = None, 0, case.shape[-1]
    if isinstance(case, Convolution):
        kernel, padding, features = noise(*case.kernel, seed=1), case.padding, case.features
    extent = case.dilation * (case.window - 1) + 1
    places = [(size + 2 * padding - extent) // case.stride + 1 for size in case.shape[1:-1]]
    return Rule(case, want, x, noise(case.shape[0], *places, features, seed=2), kernel)
