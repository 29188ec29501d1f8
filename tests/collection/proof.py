"""The proof that a case is what it says: no checker, only derivatives of rule and reference, side by side."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case
from collection.circumstances import (
    At,
    Here,
    Interleaved,
    Kink,
    Mapped,
    Raises,
    Repeated,
    SecondOrder,
    Structure,
    Value,
)
from collection.derivatives import (
    cast,
    cotangents,
    error,
    floats,
    function,
    in_dtype,
    is_moving,
    of_moving,
    random_like,
    raw,
    reference,
    split,
    undecorated,
)

# An entry's error relative to |reference| + its rms: at least this in a wrong rule, at most that in a right one.
WRONG = {"float64": 1e-8, "float32": 1e-2, "bfloat16": 0.1, "float16": 0.1}
RIGHT = {"float64": 1e-10, "float32": 1e-4, "bfloat16": 0.05, "float16": 1e-2}
FLOOR = 1e-6  # beside it, what is left of terms that cancel counts as zero


def gradient_error(case: Case, args: Callable[[], tuple], dtype: str = "float64") -> float:
    """Rule in that dtype against reference in f64, at the same numbers."""
    with jax.enable_x64(True):
        low = in_dtype(args(), dtype)
        bars, theirs = expected(undecorated(case), tuple(case.static.items()), args, dtype)
        ours = jax.jit(lambda low, bars: cotangents(function(case), low, bars))(low, bars)
        return error(ours, theirs)


@functools.lru_cache(maxsize=8)  # the cases of a layer share their reference and, most of them, their arguments
def expected(f: Callable, static: tuple, args: Callable[[], tuple], dtype: str) -> tuple[list, list]:
    """Random cotangents of f's outputs, rounded to that dtype, and what f's gradient in f64 makes of them."""
    f, low = functools.partial(f, **dict(static)), in_dtype(args(), dtype)
    bars = random_like(floats(jax.eval_shape(f, *low)))
    theirs = jax.jit(lambda high, bars: cotangents(f, high, bars))(cast(low, "float64"), cast(bars, "float64"))
    return bars, theirs


def second_order_error(case: Case, args: Any) -> float:
    """The derivative of <gradient, direction> by the arguments and by the output's cotangent."""
    with jax.enable_x64(True):
        args = cast(args, "float64")
        bars = random_like(floats(jax.eval_shape(reference(case), *args)))
        directions = random_like(split(args)[0], 1)

        def second(f):
            g, moving = of_moving(f, args)

            def along(leaves, bars):
                gradient = jax.vjp(g, *leaves)[1](bars)
                return sum(jnp.vdot(d, bar).real for d, bar in zip(directions, gradient, strict=True))

            return jax.tree.leaves(jax.grad(along, (0, 1))(moving, bars))

        ours, theirs = jax.jit(lambda: (second(function(case)), second(reference(case))))()
        return error(ours, theirs, FLOOR)


def mapped_error(case: Case, mapped: tuple[bool, ...], size: int = 3) -> float:
    """grad of vmap of the rule, against the reference example by example."""
    with jax.enable_x64(True):
        args = cast(case.args(), "float64")

        def example(k):  # neighbours of the example: floating leaves are scaled, integers stay what they are
            near = jax.tree.map(lambda leaf: leaf * (1 + 0.125 * k) if is_moving(leaf) else leaf, args)
            return tuple(n if m else a for n, a, m in zip(near, args, mapped, strict=True))

        examples = [example(k) for k in range(size)]
        axes = tuple(0 if m else None for m in mapped)
        stacked = tuple(
            jax.tree.map(lambda *leaves: np.stack(leaves), *columns) if m else columns[0]
            for columns, m in zip(zip(*examples, strict=True), mapped, strict=True)
        )
        bars = [random_like(floats(jax.eval_shape(reference(case), *args)), k) for k in range(size)]
        together = [np.stack(leaves) for leaves in zip(*bars, strict=True)]

        @jax.jit
        def both(stacked, together):
            ours = cotangents(jax.vmap(function(case), axes), stacked, together)
            each = [cotangents(reference(case), one, bar) for one, bar in zip(examples, bars, strict=True)]
            flags = [m for m, arg in zip(mapped, args, strict=True) for _ in split(arg)[0]]
            theirs = [
                jnp.stack(bars) if m else sum(bars) for m, bars in zip(flags, zip(*each, strict=True), strict=True)
            ]
            return ours, theirs

        ours, theirs = both(stacked, together)
        return error(ours, theirs, FLOOR)


def kink_errors(case: Case, kink: Kink) -> tuple[float, float]:
    """At the kink: the rule against the reference there, and against the mean of the reference around."""
    with jax.enable_x64(True):
        args, around = cast(kink.args(), "float64"), cast(kink.nudged(), "float64")
        bars = random_like(floats(jax.eval_shape(reference(case), *args)))
        pulled = jax.jit(lambda args: cotangents(reference(case), args, bars))
        ours = jax.jit(lambda args: cotangents(function(case), args, bars))(args)
        mean = [sum(bars) / len(around) for bars in zip(*map(pulled, around), strict=True)]
        return error(ours, pulled(args)), error(ours, mean)


def structure_faults(case: Case, dtype: str, args: Any | None = None) -> str:
    """What the raw cotangents have that their arguments do not, or the message of the error; "" if nothing."""
    args = cast(case.args() if args is None else args, dtype)
    forward, backward = raw(case) or (None, None)
    seen: list = []

    def trace(args):
        output, residuals = forward(*args)
        seen.append(backward(residuals, jax.tree.map(jnp.ones_like, output)))

    try:
        jax.eval_shape(trace, args)
    except (TypeError, ValueError) as problem:
        return str(problem)
    (got,) = seen
    if len(got) != len(args):
        return f"{len(got)} cotangents for {len(args)} arguments"
    for i, (bar, arg) in enumerate(zip(got, args, strict=True)):
        if bar is None and not any(map(is_moving, jax.tree.leaves(arg))):
            continue
        tree, expected_tree = str(jax.tree.structure(bar)), str(jax.tree.structure(arg))
        if tree != expected_tree:
            return f"argument {i}: {tree}, not {expected_tree}"
        for b, a in zip(jax.tree.leaves(bar), jax.tree.leaves(arg), strict=True):
            expected = (np.shape(a), a.dtype if is_moving(a) else jax.dtypes.float0)
            if (np.shape(b), b.dtype) != expected:
                return f"argument {i}: {b.dtype}{np.shape(b)}, not {expected}"
    return ""


def finite_difference_error(case: Case) -> float:
    """The rule against a central difference of 4th order of its own value, in one random direction."""
    with jax.enable_x64(True):
        g, moving = of_moving(function(case), cast(case.args(), "float64"))
        directions = random_like(moving, 1)
        bars = random_like(g(*moving))

        def along(step):
            values = g(*(leaf + step * d for leaf, d in zip(moving, directions, strict=True)))
            return sum(float(jnp.vdot(bar, value)) for bar, value in zip(bars, values, strict=True))

        h = 1e-3
        slope = (8 * (along(h) - along(-h)) - along(2 * h) + along(-2 * h)) / (12 * h)
        expected = sum(float(jnp.vdot(bar, d)) for bar, d in zip(jax.vjp(g, *moving)[1](bars), directions, strict=True))
        return abs(slope - expected) / abs(expected)


def instability(case: Case) -> float:
    """By how much the rule's own cotangents change when the arguments change in their last bit."""
    with jax.enable_x64(True):
        args = cast(case.args(), "float64")
        near = jax.tree.map(lambda leaf: np.nextafter(leaf, np.inf), args)
        bars = random_like(floats(jax.eval_shape(function(case), *args)))
        pulled = jax.jit(lambda args: cotangents(function(case), args, bars))
        return error(pulled(args), pulled(near))


def value_error(case: Case) -> float:
    with jax.enable_x64(True):
        args = cast(case.args(), "float64")
        g, moving = of_moving(function(case), args)
        return error(jax.vjp(g, *moving)[0], g(*moving))


def pulled_twice(case: Case, between: bool) -> tuple[list, list]:
    """The cotangents of one pullback, twice; or before and after another forward ran `between`."""
    g, moving = of_moving(function(case), jax.tree.map(jnp.asarray, case.args()))
    value, pull = jax.vjp(g, *moving)
    bars = random_like(value)
    once = list(pull(bars))
    if between:
        _, pull = jax.vjp(g, *moving)
        jax.vjp(g, *(1.25 * leaf for leaf in moving))
    return list(pull(bars)), once


def shows(case: Case) -> str:
    """Whether the circumstance exposes the case: "" if it does not, else what is seen."""
    how = case.exposed_by
    match how:
        case Here(dtype):
            seen = gradient_error(case, case.args, dtype)
            return f"error {seen:.3g}" if seen > WRONG[dtype] else ""
        case At(args, dtype):
            seen = gradient_error(case, args, dtype)
            return f"error {seen:.3g}" if seen > WRONG[dtype] else ""
        case Mapped(mapped):
            try:
                return _above(mapped_error(case, mapped))
            except ValueError as problem:  # newer versions of JAX refuse what they would get wrong
                return str(problem)
        case SecondOrder(args):
            return _above(second_order_error(case, case.args() if args is None else args()))
        case Value():
            return _above(value_error(case))
        case Structure(dtype, args):
            return structure_faults(case, dtype, args and args())
        case Repeated() | Interleaved():
            try:
                return _above(error(*pulled_twice(case, between=isinstance(how, Interleaved))))
            except IndexError as problem:
                return repr(problem)
        case Kink():  # a wrong rule: neither the reference there nor a mean of those around
            return _above(min(kink_errors(case, how)))
        case Raises(transform):
            g, moving = of_moving(function(case), case.args())
            bars = random_like(floats(g(*moving)))
            jax.vjp(g, *moving)[1](bars)
            try:
                transform(lambda *leaves: jax.vjp(g, *leaves)[1](bars))(*moving)
            except (jax.errors.JAXTypeError, ValueError, TypeError) as problem:
                return type(problem).__name__
            return ""
    raise TypeError(f"{case}: {how}")


def _above(seen: float) -> str:
    return f"error {seen:.3g}" if seen > WRONG["float64"] else ""
