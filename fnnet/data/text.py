"""Text for networks that predict the next token: its bytes, and windows that are cut out of it when they are needed."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Integer, UInt8

TOPICS = "topics"
BYTES = 256  # the vocabulary of a text: one token a byte
HELD_OUT = 0.1


@dataclass(frozen=True, eq=False, repr=False)
class Text:
    """A text as bytes, split into a part to train on and its end, which is held out.

    Attributes:
        train: The first nine tenths.
        test: The rest.
        name: What the text is called in reports.
    """

    train: UInt8[np.ndarray, " train"]
    test: UInt8[np.ndarray, " test"]
    name: str

    def __repr__(self) -> str:
        """One line of sizes."""
        return f"Text({self.name!r}: {len(self.train)} bytes to train on, {len(self.test)} held out)"


def text(source: str | os.PathLike[str] = TOPICS) -> Text:
    """The bytes of a text; the last tenth is held out.

    Args:
        source: A file, or "topics": the half a million bytes of Python's own help on its language, `pydoc_data.topics`,
            which differ from one version of Python to the next. (A file called topics is "./topics".)

    Returns:
        Its bytes, 0 to 255: a vocabulary of 256, whatever the language and the encoding.

    Raises:
        ValueError: The file is too short for a tenth of it to be a byte.
        OSError: The file cannot be read.
    """
    if source == TOPICS:
        from pydoc_data.topics import topics

        whole, name = "\n".join(topics.values()).encode(), TOPICS
    else:
        whole, name = Path(source).read_bytes(), Path(source).stem
    split = round((1 - HELD_OUT) * len(whole))
    if not 0 < split < len(whole):
        raise ValueError(f"text: {os.fspath(source)} has {len(whole)} bytes, too few to hold a part out")
    tokens = np.frombuffer(whole, np.uint8)
    return Text(tokens[:split], tokens[split:], name)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Windows:
    """The windows of a text as an array (windows, length) that is never made: `[rows]` cuts them out of the text.

    It also works inside `jax.jit`, of which it may be an argument.
    """

    tokens: Any
    length: int = field(metadata={"static": True})
    stride: int = field(metadata={"static": True})
    offset: int = field(metadata={"static": True})  # of the first window
    number: int = field(metadata={"static": True})

    ndim = 2
    dtype = np.dtype(np.int32)

    @property
    def shape(self) -> tuple[int, int]:
        """(windows, length)."""
        return self.number, self.length

    def __len__(self) -> int:
        """How many windows there are."""
        return self.number

    def __getitem__(self, rows: Any) -> Any:
        """One window, or those of a slice, of a mask or of an array of numbers: (..., length) in int32."""
        if isinstance(rows, tuple):
            raise IndexError("Windows: it is indexed by windows alone; of all tokens, np.asarray(windows) is an array")
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.number))
        if not isinstance(rows, jax.Array):
            rows = np.asarray(rows) if np.size(rows) else np.zeros(np.shape(rows), np.intp)
        if rows.dtype == bool:
            if rows.shape != (self.number,):
                raise IndexError(f"Windows: a mask of shape {rows.shape} must have the shape {(self.number,)}")
            rows = np.flatnonzero(rows)
        if not np.issubdtype(rows.dtype, np.integer):
            raise IndexError(f"Windows: rows of dtype {rows.dtype} must be numbers of windows")
        if not isinstance(rows, jax.Array):
            if rows.size and not -self.number <= rows.min() <= rows.max() < self.number:
                raise IndexError(f"Windows: {rows} must be numbers of {self.number} windows")
            rows = np.where(rows < 0, rows + self.number, rows)
        first = (rows * self.stride + self.offset)[..., None]
        return self.tokens[first + np.arange(self.length, dtype=np.int32)].astype(np.int32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them at once, for NumPy."""
        return np.asarray(self[:], dtype)

    def __repr__(self) -> str:
        """One line of sizes."""
        return f"Windows({self.number} windows of {self.length} tokens)"


def windows(
    text: str | bytes | Integer[Any, " tokens"], length: int, *, stride: int | None = None
) -> tuple[Windows, Windows]:
    """Examples for a network that predicts the next token: windows of a text, and the same windows one token later.

    The text stays one array. `fit` and `evaluate` cut each mini-batch out of it inside their compiled programs.

    Args:
        text: A string, of which the tokens are the bytes in UTF-8; bytes; or a row of integers, the tokens.
        length: Tokens of a window.
        stride: From the beginning of one window to that of the next. None means `length`: no token is predicted twice.

    Returns:
        (xs, ys), each like an array of int32 and shape (windows, length), with ys[n, t] = xs[n, t + 1]. Tokens at the
        end that fill no window are left out.

    Raises:
        ValueError: The text is not longer than a window, or has 2^31 tokens or more; length or stride is below 1.
        TypeError: The text is none of the three.

    Example:
        >>> xs, ys = windows("to be or not to be", 6)
        >>> [bytes(x.astype("uint8")).decode() for x in xs], [bytes(y.astype("uint8")).decode() for y in ys]
        (['to be ', 'or not'], ['o be o', 'r not '])
    """
    tokens = _tokens(text)
    stride = length if stride is None else stride
    for name, value in (("length", length), ("stride", stride)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"windows: {name} (={value!r}) must be an integer of 1 or more")
    if len(tokens) <= length:
        raise ValueError(f"windows: text of {len(tokens)} tokens must have more than the {length} of a window")
    number = (len(tokens) - 1 - length) // stride + 1
    xs, ys = (Windows(tokens, int(length), int(stride), offset, int(number)) for offset in (0, 1))
    return xs, ys


def _tokens(text: Any) -> np.ndarray:
    if isinstance(text, str):
        text = text.encode()
    tokens = np.frombuffer(text, np.uint8) if isinstance(text, bytes) else np.asarray(text)
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise TypeError(
            f"windows: text of shape {tokens.shape} and dtype {tokens.dtype} must be a string, bytes or a row of "
            "integers"
        )
    if len(tokens) >= 2**31:
        raise ValueError(f"windows: text of {len(tokens)} tokens must have fewer than 2^31")
    if tokens.dtype.itemsize < 4:
        return tokens
    if len(tokens) and not np.iinfo(np.int32).min <= tokens.min() <= tokens.max() < 2**31:
        raise ValueError(f"windows: text has tokens from {tokens.min()} to {tokens.max()}; they must be int32's")
    return tokens.astype(np.int32)
