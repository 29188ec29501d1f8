"""Whatever bad argument hypothesis draws is an error of fnnet's own that names the function and the argument."""

import traceback
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import fnnet

X = np.ones((2, 6, 7, 4), np.float32)  # two examples, six by seven, four channels
CALLS: dict[str, dict[str, Any]] = {
    "conv": {"x": X, "kernel": np.ones((3, 3, 2, 6), np.float32), "bias": np.ones(6, np.float32), "groups": 2},
    "max_pool": {"x": X, "window": (3, 2), "stride": 2},
    "max_pool_indices": {"x": X, "window": (3, 2), "stride": 2},
    "avg_pool": {"x": X, "window": (3, 2), "stride": 2},
    "dense": {"x": X, "kernel": np.ones((4, 5), np.float32), "bias": np.ones(5, np.float32)},
}
POOLINGS = ("max_pool", "max_pool_indices", "avg_pool")

no_integers = (
    st.floats()
    | st.complex_numbers()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.sampled_from([object(), slice(2), {1, 2}, {1: 1, 2: 2}, len, np.ones(2), jnp.ones(2), np.float32(2), [[1], 2]])
)
too_small = st.integers(-(10**20), 0)
not_two = st.lists(st.integers(1, 3), max_size=5).filter(lambda values: len(values) != 2)
one_of_two_bad = st.permutations([1, 2]).flatmap(lambda pair: st.tuples(st.just(pair[0]), too_small | no_integers))
bad_steps = no_integers | too_small | not_two | one_of_two_bad
bad_pairs = st.tuples(
    st.just((0, 1)),
    st.tuples(st.integers(max_value=-1), st.just(0)) | st.tuples(st.just(1)) | st.tuples(st.just(1), no_integers),
)
bad_paddings = (
    st.none()
    | no_integers.filter(lambda name: not isinstance(name, str) or name.upper() not in ("SAME", "VALID", "SAME_LOWER"))
    | st.integers(max_value=-1)
    | not_two
    | bad_pairs
)
no_flags = st.none() | no_integers | st.integers()


def shapes(wrong, least=0, most=6):
    """Floating arrays of shapes that are wrong."""
    sizes = st.lists(st.integers(0, 5), min_size=least, max_size=most).map(tuple).filter(wrong)
    return sizes.map(lambda shape: np.ones(shape, np.float32))


no_arrays = st.sampled_from(
    [None, "x", object(), {"a": 1}, [[1.0], [1.0, 2.0]], np.array(["a"]), np.ones(X.shape, object), jax.random.key(0)]
)
other_numbers = st.sampled_from(["complex64", "int32", "uint8", "bool"]).map(lambda dtype: np.ones(X.shape, dtype))
BAD: dict[str, dict[str, Any]] = {
    "conv": {
        "x": no_arrays | other_numbers | shapes(lambda s: len(s) < 3 or s[-1] != 4),
        "kernel": no_arrays | other_numbers | shapes(lambda s: s[-1:] != (6,)),
        "bias": no_arrays.filter(lambda a: a is not None) | other_numbers | shapes(lambda s: s != (6,)),
        "stride": bad_steps | st.none(),
        "dilation": bad_steps | st.none(),
        "padding": bad_paddings,
        "groups": no_integers | too_small | not_two | st.none() | st.sampled_from([3, 5, 6, 8, 10**20]),
    },
    "dense": {
        "x": no_arrays | other_numbers | shapes(lambda s: not s or s[-1] != 4),
        "kernel": no_arrays
        | other_numbers
        | shapes(lambda s: len(s) != 2 or s != (4, 5)).filter(lambda a: a.size != 0),
        "bias": no_arrays.filter(lambda a: a is not None) | other_numbers | shapes(lambda s: s != (5,)),
    },
}
for name in POOLINGS:
    BAD[name] = {
        "x": no_arrays | shapes(lambda s: len(s) < 3 or s[-3] < 3 or s[-2] < 2),
        "window": (no_integers | too_small | one_of_two_bad | st.just(()) | st.tuples(*[st.just(1)] * 4) | st.none())
        | st.sampled_from([7, 10**20, (7, 1), (1, 8), (1, 1, 5)]),
        "stride": bad_steps,
        "dilation": bad_steps | st.none() | st.sampled_from([4, (3, 1), (1, 7), 10**20]),
        "padding": bad_paddings | st.sampled_from([3, (3, 0), (0, 2), ((0, 3), (0, 0)), 10**20]),
        "ceil_mode": no_flags,
    }
for name in ("max_pool", "max_pool_indices"):  # which take integers
    BAD[name]["x"] |= other_numbers.filter(lambda a: not np.issubdtype(a.dtype, np.integer))
BAD["avg_pool"]["x"] |= other_numbers
BAD["avg_pool"]["count_padding"] = no_flags
BAD["avg_pool"]["divisor"] = st.sampled_from([0, 0.0, -0.0, np.inf, np.nan, "2", (2,), np.ones(2), object(), 1j])


def plain(function, x, keywords):
    function(x, **keywords)


def compiled(function, x, keywords):
    jax.jit(lambda x: function(x, **keywords))(x)


def differentiated(function, x, keywords):
    jax.grad(lambda x: function(x, **keywords).sum().astype(float))(x)


def mapped(function, x, keywords):
    jax.vmap(lambda x: function(x, **keywords))(x)


@st.composite
def bad_calls(draw):
    """The function, its arguments, which of them is bad, and how it is called."""
    name = draw(st.sampled_from(sorted(BAD)))
    argument = draw(st.sampled_from(sorted(BAD[name])))
    keywords = CALLS[name] | {argument: draw(BAD[name][argument])}
    # A bad x may be no array at all, which JAX's transformations would refuse before fnnet sees it.
    run = plain if argument == "x" else draw(st.sampled_from([plain, compiled, differentiated, mapped]))
    return name, keywords, argument, run


@settings(
    max_examples=400,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(bad_calls())
@example(("conv", {**CALLS["conv"], "groups": 2.0}, "groups", plain))
@example(("conv", {**CALLS["conv"], "stride": {1, 2}}, "stride", plain))
@example(("max_pool", {**CALLS["max_pool"], "ceil_mode": "no"}, "ceil_mode", plain))
def test_a_bad_argument_is_named(unchecked_shapes, call):
    name, keywords, argument, run = call
    x, rest = keywords["x"], {key: value for key, value in keywords.items() if key != "x"}
    with pytest.raises((ValueError, TypeError)) as caught:
        run(getattr(fnnet, name), x, rest)
    message = str(caught.value)
    assert caught.type in (ValueError, TypeError), caught.type
    assert message.startswith(f"{name}: "), message
    assert {"dilation": "dilat"}.get(argument, argument) in message, message
    innermost = Path(traceback.extract_tb(caught.tb)[-1].filename)
    assert Path(fnnet.__file__).parent in innermost.parents, innermost
