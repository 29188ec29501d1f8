"""Window arithmetic against windows that are walked one by one, and its errors."""

import itertools
import re

import numpy as np
import pytest
from jax import lax

from fnnet.core import geometry
from fnnet.proofs import windows

AXES = list(itertools.product(range(1, 9), range(1, 5), range(1, 5), range(1, 4), range(3), range(3)))


def test_out_size_counts_the_windows():
    for n, k, s, d, lo, hi in AXES:
        extent = d * (k - 1) + 1
        walked = len(windows.starts(n, extent, s, lo, hi, ceil_mode=False))
        assert max(geometry.out_size(n, k, s, d, (lo, hi)), 0) == walked, (n, k, s, d, lo, hi)


def test_out_size_in_ceil_mode_counts_windows_that_begin_inside():
    for n, k, s, d, lo, hi in AXES:
        extent = d * (k - 1) + 1
        if max(lo, hi) < extent:  # poolings refuse more
            walked = len(windows.starts(n, extent, s, lo, hi, ceil_mode=True))
            assert max(geometry.out_size(n, k, s, d, (lo, hi), ceil_mode=True), 0) == walked, (n, k, s, d, lo, hi)


def test_same_padding_is_that_of_jax_and_makes_as_many_places():
    for n, k, s, d, _, _ in AXES:
        for name in ("SAME", "SAME_LOWER"):
            place = geometry.window("conv", (n, 1), (k,), stride=s, dilation=d, padding=name)
            assert list(place.padding) == lax.padtype_to_pads((n,), (d * (k - 1) + 1,), (s,), name)
            assert place.out == (-(-n // s),)


def test_extent_is_what_the_taps_span():
    for k, d in itertools.product(range(1, 6), range(1, 4)):
        taps = np.arange(k) * d
        assert geometry.extent(k, d) == taps[-1] - taps[0] + 1


def test_one_value_an_axis_or_one_for_all():
    window = geometry.window("conv", (2, 9, 8, 3), (3, 2), stride=2, dilation=(1, 3), padding=((0, 1), 2))
    assert window == geometry.Window((9, 8), (3, 2), (2, 2), (1, 3), ((0, 1), (2, 2)), (4, 5))
    assert (window.rank, window.extent) == (2, (3, 4))
    same = geometry.window("conv", [2, 9, 8, 3], [3, 2], stride=[2, 2], dilation=[1, 3], padding=[[0, 1], [2, 2]])
    assert window == same


def test_numpy_integers(unchecked_shapes):
    two = np.int64(2)
    window = geometry.window("conv", (9, 8, 3), (3, 2), stride=two, dilation=[1, two], padding=((0, two), two))
    assert window == geometry.window("conv", (9, 8, 3), (3, 2), stride=2, dilation=(1, 2), padding=((0, 2), 2))


@pytest.mark.parametrize(("padding", "expected"), [("same", ((1, 1),)), ("VALID", ((0, 0),)), (1, ((1, 1),))])
def test_padding_by_name_or_number(padding, expected):
    assert geometry.window("conv", (7, 1), (3,), padding=padding).padding == expected


def test_windows_are_hashable_and_equal_by_value():
    assert len({geometry.window("conv", (7, 1), (3,)), geometry.window("max_pool", (7, 1), [3])}) == 1


BAD = {
    "too large": ((2, 2, 8), {}, "conv: window (3, 3) does not fit into x of shape (2, 2, 8) with padding 'VALID'"),
    "too large when dilated": (
        (5, 5, 1),
        {"dilation": 3},
        "conv: window (3, 3) dilated by (3, 3) does not fit into x of shape (5, 5, 1) with padding 'VALID'",
    ),
    "rank": ((5, 5), {}, "conv: x of shape (5, 5) has rank 2; a window over 2 spatial axes needs"),
    "stride 0": ((5, 5, 1), {"stride": 0}, "conv: stride (=0) must be 1 or more"),
    "dilation 0": ((5, 5, 1), {"dilation": (1, 0)}, "conv: dilation (=(1, 0)) must be 1 or more"),
    "strides": ((5, 5, 1), {"stride": (1, 2, 3)}, "conv: stride (=(1, 2, 3)) must have 2 entries"),
    "pads": ((5, 5, 1), {"padding": (1, 2, 3)}, "conv: padding (=(1, 2, 3)) must have 2 entries"),
    "negative": ((5, 5, 1), {"padding": -1}, "must be 0 or more"),
    "name": (
        (5, 5, 1),
        {"padding": "FULL"},
        "conv: padding (='FULL') must be 'SAME', 'SAME_LOWER', 'VALID', an",
    ),
}


@pytest.mark.parametrize(("shape", "keywords", "message"), list(BAD.values()), ids=list(BAD))
def test_errors_name_function_argument_value_and_requirement(shape, keywords, message, unchecked_shapes):
    with pytest.raises(ValueError, match=re.escape(message)):
        geometry.window("conv", shape, (3, 3), **keywords)


@pytest.mark.parametrize("argument", ["stride", "dilation", "padding"])
@pytest.mark.parametrize("value", [1.5, None, (1, 1.5), ((1, "a"), 2)], ids=str)
def test_numbers_must_be_integers(argument, value, unchecked_shapes):
    with pytest.raises(TypeError, match=re.escape(f"conv: {argument} (=")):
        geometry.window("conv", (5, 5, 1), (3, 3), **{argument: value})


@pytest.mark.parametrize("padding", [2, ((0, 0), (0, 2))])
def test_no_pooling_window_lies_in_the_padding(padding):
    message = f"max_pool: padding (={padding!r}) must be less than what the window"
    with pytest.raises(ValueError, match=re.escape(message)):
        geometry.pooling_window("max_pool", (5, 5, 1), 2, None, padding, 1, False)


def test_a_pooling_window_of_one_number_has_two_axes_and_its_own_stride():
    window = geometry.pooling_window("max_pool", (7, 8, 1), 3, None, "VALID", 1, True)
    assert (window.size, window.stride, window.out) == ((3, 3), (3, 3), (3, 3))
    assert geometry.pooling_window("max_pool", (7, 1), (3,), 1, 1, 2, False).out == (5,)
