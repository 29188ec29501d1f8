"""What each formulation of convolution costs on this machine: the tables of docs/speed.md.

    python docs/formulations_timed.py [--onednn]

For each shape the three partial derivatives: as the rule's page has them, and as GPUs and TPUs compute them (plain); as
convolutions of one order of dimensions (canonical); and in the form that is made for such shapes. Medians, in
milliseconds, of calls that alternate.
"""

import argparse
import functools
import inspect
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

import fnnet
from fnnet.core.geometry import Window, window
from fnnet.formulations import bands, canonical, convolution, depthwise, patches, phases, split_taps, sums, winograd
from fnnet.rules import convolution as rule_page

PARTS = ("output", "x_gradient", "kernel_gradient")
SKIPPED = 2.0  # seconds a call: not timed again


class Case(NamedTuple):
    """A convolution, which of its parts are timed, and where their special form stands."""

    image: tuple[int, ...]
    kernel: tuple[int, ...]
    page: object
    parts: tuple[str, ...] = PARTS
    stride: int = 1
    groups: int = 1
    padding: str = "SAME"

    def named(self) -> str:
        """Such as "128: 28x28x1, 3x3 to 32"."""
        n, *image, channels = self.image
        *size, _, outputs = self.kernel
        extra = [f"stride {self.stride}"] * (self.stride > 1) + [f"{self.groups} groups"] * (self.groups > 1)
        shape = f"{n}: {'x'.join(map(str, image))}x{channels}, {'x'.join(map(str, size))} to {outputs}"
        return ", ".join([shape, *extra])


TABLES = {
    "few taps: sums, and a product of patches": [
        Case((128, 28, 28, 1), (3, 3, 1, 32), sums, ("output",)),
        Case((128, 28, 28, 1), (5, 5, 1, 6), sums, ("output",)),
        Case((128, 32, 32, 3), (3, 3, 3, 64), sums, ("output",)),
        Case((128, 28, 28, 1), (3, 3, 1, 32), patches, ("kernel_gradient",)),
        Case((128, 28, 28, 1), (5, 5, 1, 6), patches, ("kernel_gradient",)),
        Case((128, 32, 32, 3), (3, 3, 3, 64), patches, ("kernel_gradient",)),
    ],
    "few channels: the kernel's gradient as it is chosen": [
        Case((128, 28, 28, 1), (3, 3, 1, 32), convolution, ("kernel_gradient",)),
        Case((128, 28, 28, 1), (5, 5, 1, 6), convolution, ("kernel_gradient",)),
        Case((128, 32, 32, 3), (3, 3, 3, 64), convolution, ("kernel_gradient",)),
        Case((64, 112, 112, 3), (3, 3, 3, 64), convolution, ("kernel_gradient",)),
    ],
    "few weights: a product with taps on both sides": [
        Case((128, 32, 32, 3), (3, 3, 3, 16), split_taps, ("kernel_gradient",)),
        Case((32, 32, 32, 16), (3, 3, 16, 16), split_taps, ("kernel_gradient",)),
        Case((128, 32, 32, 16), (3, 3, 16, 16), split_taps, ("kernel_gradient",)),
        Case((32, 16, 16, 32), (3, 3, 32, 32), split_taps, ("kernel_gradient",)),
        Case((128, 16, 16, 32), (3, 3, 32, 32), split_taps, ("kernel_gradient",)),
        Case((128, 32, 32, 32), (3, 3, 32, 32), split_taps, ("kernel_gradient",)),
        Case((128, 8, 8, 64), (3, 3, 64, 64), split_taps, ("kernel_gradient",)),
        Case((128, 32, 32, 16), (5, 5, 16, 16), split_taps, ("kernel_gradient",)),
    ],
    "with a stride: all phases as one convolution": [
        Case((128, 32, 32, 16), (3, 3, 16, 32), phases, ("x_gradient",), stride=2),
        Case((128, 16, 16, 32), (3, 3, 32, 64), phases, ("x_gradient",), stride=2),
        Case((128, 32, 32, 48), (3, 3, 48, 96), phases, ("x_gradient",), stride=2),
        Case((128, 16, 16, 64), (3, 3, 64, 128), phases, ("x_gradient",), stride=2),
        Case((128, 64, 64, 16), (4, 4, 16, 16), phases, ("x_gradient",), stride=2),
        Case((128, 16, 16, 64), (4, 4, 64, 64), phases, ("x_gradient",), stride=2),
    ],
    "few channels, narrow images: a product with a band": [
        Case((32, 14, 14, 6), (5, 5, 6, 16), bands, ("x_gradient",), padding="VALID"),
        Case((128, 14, 14, 6), (5, 5, 6, 16), bands, ("x_gradient",), padding="VALID"),
        Case((512, 14, 14, 6), (5, 5, 6, 16), bands, ("x_gradient",), padding="VALID"),
        Case((128, 16, 16, 8), (5, 5, 8, 32), bands, ("x_gradient",)),
    ],
    "few channels: a product to patches": [
        Case((128, 14, 14, 6), (5, 5, 6, 16), patches, ("x_gradient",), padding="VALID"),
        Case((512, 14, 14, 6), (5, 5, 6, 16), patches, ("x_gradient",), padding="VALID"),
        Case((128, 28, 28, 3), (3, 3, 3, 64), patches, ("x_gradient",)),
        Case((128, 28, 28, 1), (3, 3, 1, 32), patches, ("x_gradient",)),
    ],
    "one tap: one product": [
        Case((128, 32, 32, 32), (1, 1, 32, 64), convolution),
        Case((128, 16, 16, 128), (1, 1, 128, 128), convolution),
        Case((128, 16, 16, 64), (1, 1, 64, 128), convolution, stride=2),
    ],
    "3 x 3 taps, many channels: Winograd's products": [
        Case((32, 14, 14, 32), (3, 3, 32, 64), winograd),
        Case((128, 14, 14, 32), (3, 3, 32, 64), winograd),
        Case((512, 14, 14, 32), (3, 3, 32, 64), winograd),
        Case((128, 32, 32, 64), (3, 3, 64, 64), winograd),
        Case((128, 16, 16, 64), (3, 3, 64, 128), winograd),
        Case((128, 16, 16, 128), (3, 3, 128, 128), winograd),
        Case((128, 8, 8, 256), (3, 3, 256, 256), winograd),
        Case((128, 28, 28, 32), (3, 3, 32, 32), winograd),
    ],
    "depthwise: by taps": [
        Case((128, 32, 32, 64), (3, 3, 1, 64), depthwise, groups=64),
        Case((128, 32, 32, 64), (3, 3, 1, 64), depthwise, stride=2, groups=64),
        Case((128, 16, 16, 128), (3, 3, 1, 128), depthwise, groups=128),
    ],
    "groups: each by itself": [
        Case((128, 16, 16, 64), (3, 3, 16, 64), convolution, groups=4),
        Case((128, 16, 16, 128), (3, 3, 4, 128), convolution, groups=32),
    ],
}


def forms(case: Case, part: str, place: Window) -> Iterator[tuple[str, Callable]]:
    """Each form of the part, compiled."""
    for name, page in (("plain", rule_page), ("canonical", canonical), ("special", case.page)):
        takes_groups = page in (rule_page, canonical, convolution)
        static = {"window": place} | ({"groups": case.groups} if takes_groups else {})
        yield name, jax.jit(functools.partial(inspect.unwrap(getattr(page, part)), **static))


def timed(case: Case, part: str, rounds: int) -> dict[str, float]:
    """Each form's median in seconds; of forms that agree."""
    rng = np.random.default_rng(0)
    x, kernel = (jax.device_put(rng.normal(size=shape).astype(np.float32)) for shape in (case.image, case.kernel))
    place = window("conv", x.shape, kernel.shape[:-2], stride=case.stride, dilation=1, padding=case.padding)
    g = jax.device_put(rng.normal(size=(len(x), *place.out, kernel.shape[-1])).astype(np.float32))
    args = {"output": (x, kernel), "x_gradient": (kernel, g), "kernel_gradient": (x, g)}[part]
    programs = dict(forms(case, part, place))
    results = {name: np.asarray(program(*args)) for name, program in programs.items()}
    for name, result in results.items():
        np.testing.assert_allclose(result, results["plain"], atol=1e-3 * float(results["plain"].std()), err_msg=name)
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            if seconds[name] and seconds[name][0] > SKIPPED:
                continue
            begin = time.perf_counter()
            program(*args).block_until_ready()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(of) for name, of in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--table", choices=TABLES, nargs="+", default=list(TABLES))
    parser.add_argument(
        "--onednn", action="store_true", help="with fnnet.use_onednn: canonical and special forms call it"
    )
    options = parser.parse_args()
    if options.onednn and not fnnet.use_onednn():
        parser.error("XLA cannot call oneDNN here")
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}")
    for title in options.table:
        print(f"\n{title}\n\n| batch: image, kernel | part | plain | canonical | special |\n|---|---|---|---|---|")
        for case in TABLES[title]:
            for part in case.parts:
                medians = timed(case, part, options.rounds)
                shown = " | ".join(f"{1e3 * seconds:.3g}" for seconds in medians.values())
                print(f"| {case.named()} | {part.replace('_', ' ')} | {shown} |", flush=True)
                jax.clear_caches()


if __name__ == "__main__":
    main()
