"""Poolings where the contract table does not reach: what is refused."""

import jax.numpy as jnp
import pytest

import fnnet


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"divisor": 0}, ValueError, "avg_pool: divisor (=0) must be finite and not 0"),
        ({"divisor": float("inf")}, ValueError, "avg_pool: divisor (=inf) must be finite and not 0"),
        ({"divisor": "2"}, TypeError, "avg_pool: divisor (='2') must be a number or None"),
        (
            {"dilation": 2},
            ValueError,
            "avg_pool: window (2, 2) dilated by (2, 2) has no tap in x of shape (1, 4, 1) at some places: padding (=1)",
        ),
    ],
)
def test_means_that_cannot_be_are_refused(keywords, error, message, unchecked_shapes):
    with pytest.raises(error) as caught:
        fnnet.avg_pool(jnp.ones((1, 4, 1)), 2, padding=1, **keywords)
    assert message in str(caught.value)


def test_a_window_without_a_tap_in_the_image_is_a_mean_of_padding_or_a_sum():
    x, place = jnp.ones((1, 4, 1)), {"window": 2, "padding": 1, "dilation": 2, "stride": 1}
    assert fnnet.avg_pool(x, **place, count_padding=True).tolist() == [[[0.0], [0.0], [0.0], [0.0]]]
    assert fnnet.avg_pool(x, **place, divisor=1).shape == (1, 4, 1)
