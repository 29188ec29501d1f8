"""No backward pass is left to autodiff, on any platform: what the page of convolution computes is compared with it.

40 drawn convolutions are computed always, 540 in the slow run; programs for GPUs and TPUs are read of 9 and of 209:

    python -m pytest -m slow tests/rules/test_by_hand.py
"""

import ast
import functools
import inspect
import re
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from jax import lax

import fnnet
from fnnet.checking.contract import compare
from fnnet.core.geometry import Window, window
from fnnet.formulations import canonical
from fnnet.proofs import own
from fnnet.rules import convolution

PARTS = ("y", "x_bar", "kernel_bar")
PLATFORMS = ("cuda", "rocm", "tpu")
AUTODIFF = {"grad", "value_and_grad", "vjp", "jvp", "linearize", "linear_transpose", "jacrev", "jacfwd", "hessian"}
FOLDER = Path(fnnet.__file__).parent
MODULES = sorted([*FOLDER.glob("rules/*.py"), *FOLDER.glob("formulations/*.py")])


@pytest.mark.parametrize("file", MODULES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_no_autodiff(file):
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = {getattr(node, field, None) for node in nodes for field in ("id", "attr", "name")}  # used, and imported
    assert not AUTODIFF & names


class Convolution(NamedTuple):
    """A convolution of images (N, *image, channels)."""

    text: str
    x: tuple[int, ...]
    kernel: tuple[int, ...]
    window: Window
    groups: int

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of x, kernel and y_bar."""
        return [self.x, self.kernel, (self.x[0], *self.window.out, self.kernel[-1])]

    def by(self, page):
        """A function to the three parts, as the functions of a module compute them."""

        def parts(x, kernel, y_bar):
            operands = {"output": (x, kernel), "x_gradient": (kernel, y_bar), "kernel_gradient": (x, y_bar)}
            shared = {"window": self.window, "groups": self.groups}
            return [inspect.unwrap(getattr(page, name))(*of, **shared) for name, of in operands.items()]

        return parts

    def by_rule(self, x, kernel, y_bar):
        """Of `fnnet.conv`."""
        place = self.window
        static = {"stride": place.stride, "padding": place.padding, "dilation": place.dilation, "groups": self.groups}
        y, pull = jax.vjp(functools.partial(fnnet.conv, **static), x, kernel)
        return [y, *pull(y_bar)]

    def by_autodiff(self, x, kernel, y_bar):
        """Of `lax.conv_general_dilated`."""
        image = "DHW"[-self.window.rank :]
        conv = functools.partial(
            lax.conv_general_dilated,
            window_strides=self.window.stride,
            padding=self.window.padding,
            rhs_dilation=self.window.dilation,
            dimension_numbers=(f"N{image}C", f"{image}IO", f"N{image}C"),
            feature_group_count=self.groups,
        )
        y, pull = jax.vjp(conv, x, kernel)
        return [y, *pull(y_bar)]


def of_shapes(x, kernel, groups=1, **static):
    return Convolution(f"{x} by {kernel}", x, kernel, window("conv", x, kernel[:-2], **static), groups)


def drawn(first: int, last: int) -> list[Convolution]:
    """Without those on whose x_bar XLA for CPUs may abort, also on autodiff's: formulations/canonical.py."""
    cases = []
    for case in map(own()["conv"].case, range(first, last)):
        x, kernel, static = case.arrays["x"].shape, case.arrays["kernel"].shape, case.configuration.static
        images = int(np.prod(x[: -len(kernel) + 1])), *x[-len(kernel) + 1 :]
        cases.append(of_shapes(images, kernel, **static)._replace(text=str(case)))
    aborting = (2, 2, 1, 1, 0)
    return [
        one
        for one in cases
        if all((k, s, d, lo, n - s * (o - 1)) != aborting for n, k, s, d, (lo, _), o in one.window.axes)
    ]


def ranges(first: int, last: int, step: int):
    return [pytest.param(n, n + step, marks=pytest.mark.slow) for n in range(first, last, step)]


@pytest.mark.parametrize(("first", "last"), [(0, 6), *ranges(6, 540, 89)])
def test_the_three_parts_are_those_of_autodiff(first, last, x64, forgets, monkeypatch):
    """The plain forms of the rule's page, and canonical.py's, which take any configuration too."""
    monkeypatch.setattr(canonical, "LEAST_DILATED", 1)
    cases, random = drawn(first, last), np.random.default_rng(first)
    args = [[random.normal(size=shape) for shape in case.shapes] for case in cases]
    assert len(cases) >= 0.9 * (last - first)

    def results(of):  # all cases in one program, which takes half the time
        return jax.jit(lambda args: [of(case)(*own) for case, own in zip(cases, args, strict=True)])(args)

    found = {"page": results(lambda case: case.by(convolution))}
    for dilated in (False, True):
        monkeypatch.setattr(canonical, "ON_ONE_CORE", dilated)
        found[f"canonical, dilated {dilated}"] = results(lambda case: case.by(canonical))
    expected = results(lambda case: case.by_autodiff)
    for form, ours in found.items():
        for case, one, other in zip(cases, ours, expected, strict=True):
            for name, a, b in zip(PARTS, one, other, strict=True):
                assert not compare(f"{form}, {case.text}: {name}", a, b, 1e-12)


FIXED = [  # one for each formulation that a CPU has
    of_shapes((8, 6, 5, 24), (3, 3, 24, 20), padding="SAME"),
    of_shapes((8, 6, 5, 1), (3, 3, 1, 32), padding="SAME"),
    of_shapes((8, 6, 5, 24), (3, 3, 6, 20), 4, padding="SAME"),
    of_shapes((8, 6, 5, 24), (3, 3, 1, 24), 24, padding="SAME"),
    of_shapes((24, 9, 10, 32), (3, 3, 32, 64), padding="SAME"),
]


def programs(function, shapes, dtype) -> list[str]:
    """A function lowered for each platform."""
    traced = jax.jit(function).trace(*(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes))
    return [traced.lower(lowering_platforms=(platform,)).as_text() for platform in PLATFORMS]


def convolutions(text: str) -> list[str]:
    """The convolutions of a program with all their attributes, and the types of their operands."""
    return sorted(re.findall(r"stablehlo\.convolution\([^)]*\) (.*)", text))


def assert_same_convolutions(case, dtype):
    for ours, theirs in zip(*(programs(f, case.shapes, dtype) for f in (case.by_rule, case.by_autodiff)), strict=True):
        assert len(convolutions(ours)) == 3, case.text
        assert convolutions(ours) == convolutions(theirs), case.text
        assert "dot_general" not in ours
        assert "concatenate" not in ours


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", FIXED, ids=lambda case: case.text)
def test_accelerators_are_given_the_convolutions_of_autodiff(case, dtype):
    assert_same_convolutions(case, dtype)


@pytest.mark.parametrize(("first", "last"), [(0, 4), *ranges(4, 204, 20)])
def test_and_of_drawn_convolutions(first, last):
    for case in drawn(first, last):
        if case.x[0]:  # of no examples, autodiff makes no convolution for the kernel
            assert_same_convolutions(case, "float32" if first else "bfloat16")
