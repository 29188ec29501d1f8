"""Text as bytes, and windows of it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnnet.data import text, windows

WORDS = "to be, or not to be: that is the question"


def test_the_default_text():
    topics = text()
    assert repr(topics) == f"Text('topics': {len(topics.train)} bytes to train on, {len(topics.test)} held out)"
    assert topics.train.dtype == np.uint8
    assert 400_000 < len(topics.train) == pytest.approx(9 * len(topics.test), rel=1e-4)
    assert bytes(topics.train[:22]) == b'The "assert" statement'


def test_a_file_of_ones_own(tmp_path):
    file = tmp_path / "hamlet.txt"
    file.write_bytes(WORDS.encode() + b"\xff\x00")
    own = text(file)
    assert own.name == "hamlet"
    assert bytes(own.train) + bytes(own.test) == file.read_bytes()
    file.write_bytes(b"a")
    with pytest.raises(ValueError, match=rf"text: {re.escape(str(file))} has 1 bytes, too few"):
        text(file)


@pytest.mark.parametrize(("length", "stride"), [(6, None), (6, 1), (5, 7), (40, None)])
@pytest.mark.parametrize("kind", [str, str.encode, lambda s: np.frombuffer(s.encode(), np.uint8).astype(np.int64)])
def test_windows_are_those_of_an_array_of_all(kind, length, stride):
    tokens = np.frombuffer(WORDS.encode(), np.uint8)
    first = np.arange(0, len(tokens) - length, stride or length)[:, None] + np.arange(length)
    rows = np.array([0, len(first) - 1, 0])
    for array, expected in zip(
        windows(kind(WORDS), length, stride=stride), (tokens[first], tokens[first + 1]), strict=True
    ):
        assert (array.shape, array.ndim, array.dtype, len(array)) == (first.shape, 2, np.int32, len(first))
        np.testing.assert_array_equal(array, expected)
        np.testing.assert_array_equal(array[rows], expected[rows])
        np.testing.assert_array_equal(array[-1], expected[-1])
        np.testing.assert_array_equal(array[1:2], expected[1:2])
        compiled = jax.jit(lambda array, rows: array[rows])(array, jnp.asarray(rows))
        assert compiled.dtype == jnp.int32
        np.testing.assert_array_equal(compiled, expected[rows])
        mask = np.arange(len(first)) % 2 == 0
        np.testing.assert_array_equal(array[mask], expected[mask])
        np.testing.assert_array_equal(array[jnp.asarray(mask)], expected[mask])
        np.testing.assert_array_equal(array[[]], expected[[]])
        for wrong in (len(first), (0, 1), np.append(mask, True), [0.5]):
            with pytest.raises(IndexError):
                array[wrong]


def test_they_share_one_text():
    tokens = np.zeros(1000, np.uint8)
    xs, ys = windows(tokens, 10)
    assert xs.tokens is ys.tokens is tokens


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((WORDS, 41), ValueError, "windows: text of 41 tokens must have more than the 41 of a window"),
        ((WORDS, 0), ValueError, r"windows: length \(=0\) must be an integer of 1 or more"),
        ((WORDS, 2, -1), ValueError, r"windows: stride \(=-1\)"),
        ((np.zeros((3, 2), int), 1), TypeError, r"windows: text of shape \(3, 2\) and dtype int64 must be a string"),
        ((np.zeros(3), 1), TypeError, "dtype float64 must be a string"),
        ((np.array([0, 2**32 + 3, 1]), 1), ValueError, "windows: text has tokens from 0 to 4294967299; they must be"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_refuses(arguments, error, message):
    given = dict(zip(("text", "length", "stride"), arguments, strict=False))
    with pytest.raises(error, match=message):
        windows(**given)
