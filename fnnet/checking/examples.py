"""Arguments as the command line writes them: x=f32[2,5], labels=i32[4]<10, x=x.npy, and static values, stride=2."""

import ast
import re
import zlib
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.core.paths import nested_dictionary
from fnnet.core.suggestions import did_you_mean

DTYPES = {
    "f16": "float16",
    "bf16": "bfloat16",
    "f32": "float32",
    "f64": "float64",
    "c64": "complex64",
    "c128": "complex128",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
    "bool": "bool",
}
WIDE = ("f64", "c128", "i64", "u64")
GRAMMAR = (
    "f32[2,5] (normal numbers; f64, bf16, f16, c64 likewise), f32[4]<1 (numbers from 0 to 1), i32[4]<10 (integers from "
    "0 to 9), bool[4], a number, a list of numbers, None, or a file x.npy"
)
_ARRAY = re.compile(r"(?P<dtype>\w+)\[(?P<shape>[^\]]*)\](?:<(?P<bound>.+))?")


def named(option: str, text: str) -> tuple[str, str]:
    """name=value, in two."""
    name, equals, value = text.partition("=")
    if not (equals and name.strip() and value.strip()):
        example = {"--arg": "x=f32[2,5]", "--static": "stride=2", "--waive": 'T="shares an output"'}[option]
        raise ValueError(f"check: {option} {text!r} must be a name, = and a value, such as {example}")
    return name.strip(), value.strip()


def argument(name: str, text: str, seed: int) -> Any:
    """The value of one --arg.

    Raises:
        ValueError: It is none of the forms of GRAMMAR; the file holds no array.
        OSError: The file cannot be read.
    """
    written = _ARRAY.fullmatch(text)
    if written:
        return _drawn(name, written, np.random.default_rng([seed, zlib.crc32(name.encode())]))
    if text.endswith((".npy", ".npz")):
        return _loaded(name, text)
    value = _literal(text)
    if value is _NOTHING or isinstance(value, str):
        raise ValueError(f"check: --arg {name}={text} must be one of {GRAMMAR}")
    return _of_list(name, value) if isinstance(value, list) else value


def nested(arrays: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Arguments that are dictionaries put together: params.kernel and params.bias are entries of params."""
    try:
        return nested_dictionary(arrays, separator=".")
    except ValueError as error:
        raise ValueError(f"check: --arg {error}") from None


def static(text: str) -> Any:
    """The value of one --static: a Python literal, or else the text itself."""
    value = _literal(text)
    return text if value is _NOTHING else value


def is_wide(text: str) -> bool:
    """Whether the value of an --arg needs 64-bit mode."""
    written = _ARRAY.fullmatch(text)
    return written is not None and written["dtype"] in (*WIDE, *(DTYPES[short] for short in WIDE))


_NOTHING = object()


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return _NOTHING


def _of_list(name: str, value: list) -> np.ndarray:
    try:
        array = np.array(value)
    except ValueError:
        array = np.array(None)
    if array.dtype.kind not in "bifc":
        raise ValueError(f"check: --arg {name}={value} must be numbers, in lists of the same length")
    return array


def _drawn(name: str, written: re.Match, rng: np.random.Generator) -> np.ndarray:
    where = f"check: --arg {name}={written[0]}:"
    short = next((short for short, name in DTYPES.items() if name == written["dtype"]), written["dtype"])
    if short not in DTYPES:
        raise ValueError(f"{where} there is no dtype {short!r}{did_you_mean(short, DTYPES)}")
    sizes = [size.strip() for size in written["shape"].split(",")] if written["shape"].strip() else []
    if not all(size.isdecimal() for size in sizes):
        raise ValueError(f"{where} a shape must be whole numbers with commas between, such as [2,5]")
    shape, dtype = tuple(map(int, sizes)), jnp.dtype(DTYPES[short])
    bound = _bound(where, short, written["bound"])
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        return rng.integers(0, bound, shape).astype(dtype)
    if bound is not None:
        return rng.uniform(0, bound, shape).astype(dtype)
    if dtype.kind == "c":
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    return rng.normal(size=shape).astype(dtype)


def _bound(where: str, short: str, text: str | None) -> Any:
    """The number after <; integers need one."""
    kind = short.rstrip("0123456789")
    if kind in ("c", "bool"):
        if text is not None:
            raise ValueError(f"{where} {short} takes no bound")
        return None
    if text is None:
        if kind in ("i", "u"):
            raise ValueError(f"{where} integers need a bound, such as {short}[4]<10 for integers from 0 to 9")
        return None
    try:
        bound = int(text) if kind in ("i", "u") else float(text)
    except ValueError:
        bound = 0
    limit = jnp.iinfo(DTYPES[short]).max + 1 if kind in ("i", "u") else float(jnp.finfo(DTYPES[short]).max)
    if not 0 < bound <= limit:
        wanted = "a whole number of 1 or more" if kind in ("i", "u") else "a positive number"
        raise ValueError(f"{where} the bound {text!r} must be {wanted} within {short}")
    return bound


def _loaded(name: str, file: str) -> np.ndarray:
    try:
        loaded = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as problem:
        raise ValueError(f"check: --arg {name}: {file} is no file of an array: {problem}") from None
    if not isinstance(loaded, np.ndarray):
        raise ValueError(f"check: --arg {name}: {file} holds several arrays; it must be a .npy file of one")
    return loaded
