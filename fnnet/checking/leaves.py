"""Lists of arrays, the leaves of a rule's arguments: their dtypes, other numbers like them, and their names."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.core.primitives import is_inexact

Leaves = Sequence[Any]


def is_wide(leaves: Leaves) -> bool:
    """Whether these leaves need 64-bit mode."""
    return any(np.dtype(leaf.dtype) in (np.float64, np.complex128) for leaf in leaves if is_inexact(leaf))


def as_wide(leaf: Any) -> np.ndarray:
    """The same numbers as f64, or as complex128."""
    leaf = np.asarray(leaf)
    return leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64)


def all_wide(arrays: Leaves) -> list[np.ndarray]:
    """All of them as f64 or complex128."""
    return [as_wide(array) for array in arrays]


def widened(leaves: Leaves) -> list:
    """The leaves in double precision; integers stay."""
    return [as_wide(leaf) if is_inexact(leaf) else leaf for leaf in leaves]


def cast(leaves: Leaves, dtype: str) -> list:
    """The floating leaves in another dtype, complex ones in the complex dtype of that precision."""
    kinds = {"float32": np.complex64, "float64": np.complex128}
    return [
        np.asarray(a).astype(kinds[dtype] if np.iscomplexobj(a) else jnp.dtype(dtype)) if is_inexact(a) else a
        for a in leaves
    ]


def replaced(leaves: Leaves, indices: Sequence[int], values: Sequence) -> list:
    """The leaves, with other values at these indices."""
    found = list(leaves)
    for i, value in zip(indices, values, strict=True):
        found[i] = value
    return found


def gaussians(shapes: Sequence[Any], rng: np.random.Generator) -> list[np.ndarray]:
    """Normal numbers of these shapes and dtypes."""

    def one(shape: Any) -> np.ndarray:
        values = rng.normal(size=shape.shape)
        if np.dtype(shape.dtype).kind == "c":
            values = values + 1j * rng.normal(size=shape.shape)
        return np.asarray(values).astype(shape.dtype)

    return [one(shape) for shape in shapes]


def jittered(leaves: Leaves, rng: np.random.Generator, by: float = 0.2) -> list:
    """Leaves like these: every number shrinks by up to `by` of itself, so that signs, zeros and bounds stay."""

    def one(leaf: Any) -> Any:
        if not is_inexact(leaf):
            return leaf
        factors = 1 - by * rng.random(leaf.shape)
        finite = np.isfinite(as_wide(leaf))
        return np.where(finite, np.where(finite, as_wide(leaf), 0) * factors, leaf).astype(leaf.dtype)

    return [one(leaf) for leaf in leaves]


def are_finite(arrays: Leaves) -> bool:
    """Whether all entries of all arrays are finite."""
    return all(np.isfinite(as_wide(array)).all() for array in arrays)


def largest(a: Any) -> float:
    """The largest finite entry by size; 0 if there is none."""
    return float(np.abs(a[np.isfinite(a)]).max(initial=0.0))


def rms(a: Any) -> float:
    """Root mean square of the finite entries, without overflow; 0 if there is none."""
    finite, most = np.abs(a[np.isfinite(a)]), largest(a)
    return most * float(np.sqrt(np.mean((finite / most) ** 2))) if most else 0.0


def described(paths: Sequence[str], leaves: Leaves) -> str:
    """Names, dtypes and shapes: x f32[2, 5], labels i32[2]."""
    return ", ".join(f"{path} {leaf_type(leaf)}" for path, leaf in zip(paths, leaves, strict=True))


def leaf_type(leaf: Any) -> str:
    """A leaf's dtype and shape, as in f32[2,5]."""
    short = {"float": "f", "bfloat": "bf", "int": "i", "uint": "u", "complex": "c"}
    name = str(leaf.dtype)
    kind = name.rstrip("0123456789")
    return f"{short.get(kind, kind)}{name[len(kind) :]}[{','.join(map(str, leaf.shape))}]"
