"""What makes a cotangent's shape differ from its argument's."""

import pytest

from fnnet.core.shape_differences import shape_difference


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        ((4, 2), (2,), ": the sum over axis 0 is missing"),
        ((4, 5, 2), (2,), ": the sum over axes (0, 1) is missing"),
        ((8, 3, 5, 5), (3,), ": the sum over axes (0, 2, 3) is missing"),
        ((4, 3), (), ": the sum over axes (0, 1) is missing"),
        ((4, 2), (1, 2), ": the sum over axis 0 is missing"),
        ((2,), (4, 2), ": a sum over axis 0 is too much"),
        ((4, 1), (4, 2), ": a sum over axis 1 is too much"),
        ((2, 3), (3, 2), ": its axes are in another order"),
        ((4, 2), (3,), ""),
        ((5, 7), (4, 6), ""),
        ((2,) * 7, (2,), ""),
    ],
)
def test_what_it_says(found, wanted, said):
    assert shape_difference(found, wanted) == said
