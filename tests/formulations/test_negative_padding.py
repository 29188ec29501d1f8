"""Small convolutions with much padding, and both their gradients, against sums over taps in NumPy's double precision.

Where padding is larger than the window less one, autodiff's image gradient has negative padding, and XLA on CPUs
computes some of that wrong before jax 0.12: openxla/xla#48713, #48715. 36 run always, 2,000 in the slow run:

    python -m pytest -m slow tests/formulations/test_negative_padding.py
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn import by_taps
from drawn.configuration import Configuration
from sampled import one_in

import fnnet
from fnnet.checking.programs import compiler_options

EACH = 100  # in one test, whose compiled programs are then dropped


def conv(examples, image, window, inputs, outputs, stride, padding, dilation, groups=1) -> Configuration:
    """A convolution of some images, in f32."""
    shapes = {"x": (examples, *image, inputs), "kernel": (*window, inputs // groups, outputs)}
    static = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Configuration("conv", shapes, static, dtype="float32")


def findings(case: Configuration, options: dict[str, Any] | None) -> list[str]:
    """Where output and gradients differ from the sums over taps; `options` are the compiler's."""
    return [f"{case.line('by_taps')}: {one}" for one in case.findings(by_taps.pulled, options)]


def drawn(number: int) -> Configuration:
    """One of which the padding is larger than the window less one, at one side at least."""
    random = np.random.default_rng(number)

    def integer(least: int, most: int) -> int:
        return int(random.integers(least, most + 1))

    def axis() -> tuple:
        """Image, window, stride, padding and dilation."""
        if integer(0, 2) == 0:
            return 1, 1, integer(2, 3), (0, 0), 1
        n, k, d = integer(1, 9), integer(1, 3), integer(1, 2)
        lo, hi = (integer(0, 1) * integer(0, d * (k - 1) + 4) for _ in range(2))
        return n, k, integer(1, 3), (lo, hi), d

    while True:
        axes = [axis() for _ in range(integer(1, 3))]
        groups = int(random.choice([1] * 8 + [2, 3]))
        inputs, outputs = (groups * integer(1, 24 // groups) for _ in range(2))
        extents = [d * (k - 1) + 1 for _, k, _, _, d in axes]
        fits = all(axis[0] + sum(axis[3]) >= e for axis, e in zip(axes, extents, strict=True))
        if fits and any(max(axis[3]) >= e for axis, e in zip(axes, extents, strict=True)):
            image, window, stride, padding, dilation = zip(*axes, strict=True)
            return conv(integer(1, 4), image, window, inputs, outputs, stride, padding, dilation, groups)


def found(numbers: range, options: dict[str, Any] | None) -> list[str]:
    return [finding for number in numbers for finding in findings(drawn(number), options)]


FIXED = [
    # An axis with one place and a stride: there XLA moves a negative lax.pad into the convolution.
    conv(2, (1, 9), (1, 3), 8, 8, (2, 1), ((0, 0), (4, 1)), (1, 1)),
    conv(2, (1, 9), (1, 3), 8, 16, (2, 1), ((0, 0), (4, 1)), (1, 1), 2),
    conv(2, (1, 1, 9), (1, 1, 3), 8, 16, (2, 2, 1), ((0, 0), (0, 0), (4, 1)), (1, 1, 1), 2),
    conv(3, (3, 9), (3, 3), 8, 12, (3, 2), ((0, 0), (5, 1)), (1, 1)),
    conv(24, (2,), (3,), 3, 24, (1,), ((3, 1),), (1,)),  # autodiff of jax.lax is wrong there
    conv(2, (5,), (2,), 12, 19, (1,), ((3, 0),), (1,)),
    conv(1, (1,), (1,), 2, 3, (3,), ((1, 0),), (1,)),  # no place sees the image
    conv(2, (3, 1), (2, 1), 2, 3, (1, 3), ((1, 1), (1, 4)), (1, 1)),
    # Negative after the cotangent, and on both sides, with groups and a stride.
    conv(2, (4, 4), (3, 3), 6, 6, (2, 2), ((0, 5), (4, 4)), (1, 2), 3),
    conv(2, (2, 2), (2, 2), 4, 4, (2, 2), ((2, 2), (2, 2)), (1, 1)),
    conv(2, (5, 2), (2, 2), 4, 4, (2, 2), ((3, 0), (0, 3)), (1, 1), 2),
    conv(2, (6,), (3,), 24, 24, (1,), ((5, 5),), (2,)),
]


@pytest.mark.parametrize("case", FIXED)
@pytest.mark.parametrize("options", one_in(2, [None, compiler_options], ["plain", "options"]))
def test_fixed(case, options):
    assert findings(case, options and options()) == []


@pytest.mark.parametrize("first", one_in(3, range(0, 24, 8)))
def test_some_drawn(first):
    assert found(range(first, first + 8), compiler_options()) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 1800, EACH))
def test_drawn(first, forgets):
    assert found(range(first, first + EACH), compiler_options()) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1800, 2100, EACH))
def test_drawn_without_options(first, forgets):
    assert found(range(first, first + EACH), None) == []


@pytest.mark.cpu
@pytest.mark.parametrize("case", FIXED[:4])
def test_xla_is_left_no_crop_to_put_into_a_convolution(case):
    """But for those whose operands XLA has exchanged, which it computes rightly."""
    convolutions = re.findall(r" convolution\(.*? window={(.*?)}", case.program().as_text())
    assert convolutions
    assert [window for window in convolutions if "-" in window and "rhs_reversal" not in window] == []


def test_the_public_reproducer():
    """openxla/xla#48713, with the negative padding written as a slice, which is how to crop for `fnnet.conv`."""
    x = np.random.default_rng(0).normal(size=(1, 15, 6, 8)).astype(np.float32)

    @jax.jit
    def cropped(x):
        return fnnet.conv(x[:, :, 5:], jnp.eye(8)[None, None], padding=((0, 0), (0, 1)))

    np.testing.assert_array_equal(cropped(x), np.concatenate([x[:, :, 5:], np.zeros_like(x[:, :, :1])], 2))
