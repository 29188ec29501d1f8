"""The contract: what every rule is held to at configurations drawn from its proof.

Each check takes a case and returns what is wrong, in words: nothing where the rule is right. All of it is the checker's
work but for `values_and_gradients`, which holds them to fixed tolerances, and `hessians`.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.checking.checker import check
from fnnet.core.arguments import accumulator
from fnnet.proofs.proof import Arrays, Case, Proof, cast

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
COTANGENTS = 3
DRAWN, CHEAP = 250, 100  # configurations of each rule
SHOWN = 5  # wrong cases shown in one message
UNDERFLOW = float(np.finfo(np.float32).tiny)  # what float32 makes 0

Static = tuple[tuple[str, Any], ...]
Names = tuple[str, ...]


def values_and_gradients(case: Case) -> list[str]:
    """Value and every entry of every gradient, in f64 and f32, for three cotangents."""
    findings = []
    with jax.enable_x64(True):
        program = both(case.proof, case.static, case.differentiated)
        for number in range(COTANGENTS):
            output_bar = cotangent(case, number)
            ours, (value, bars) = program(case.arrays, output_bar)
            for dtype, (our_value, our_bars) in ours.items():
                allowed = rounding(case, dtype, output_bar)
                outputs = zip(jax.tree.leaves(our_value), jax.tree.leaves(value), strict=True) if number == 0 else ()
                for our_output, output in outputs:
                    findings += compare(f"value in {dtype}", our_output, output, TOLERANCE[dtype])
                for name, bar in bars.items():
                    what = f"gradient of {name} in {dtype}"
                    findings += compare(what, our_bars[name], bar, TOLERANCE[dtype], allowed)
    return findings


def structure(case: Case) -> list[str]:
    """Shape and exact dtype of every cotangent, in f64, f32 and bf16, with and without 64-bit mode."""
    findings = []
    for wide, dtypes in ((True, ("float64", "float32", "bfloat16")), (False, ("float32", "bfloat16"))):
        for dtype in dtypes:
            with jax.enable_x64(wide):
                found = checked(case, "S", dtype)
                values = jax.tree.leaves(jax.eval_shape(case.function, *case.in_dtype(dtype).values()))
            findings += [f"{one} (in {dtype}, 64-bit mode {wide})" for one in found]
            # After the first output come statistics, in the dtype of sums.
            for number, value in enumerate(values):
                wanted = accumulator(dtype) if number else jnp.dtype(dtype)
                if value.dtype != wanted:
                    findings.append(f"the value in {dtype}, 64-bit mode {wide}, is {value.dtype}, not {wanted}")
    return findings


def low_precision(case: Case) -> list[str]:
    """The same gradients in bf16 and f16, as near as their rounding lets them be."""
    return checked(case, "D", "float32", dtypes=("bfloat16", "float16"))


def mapped(case: Case) -> list[str]:
    """Every subset of the arguments under vmap: grad of vmap, and vmap of grad, against a loop."""
    return checked(case, "V")


def second_order(case: Case) -> list[str]:
    """The gradient differentiated again: in reverse, by the cotangent too, and forward."""
    return checked(case, "2", second_order=True)


def hessians(case: Case) -> list[str]:
    """jax.hessian of a nonlinear function of the output, every block of it; for tiny cases."""
    names, dtype = case.differentiated, "float64"
    with jax.enable_x64(True):
        weights = cotangent(case, 0)
        ours, theirs = hessian_programs(case.proof, case.static, names)(case.arrays, weights)
    findings, allowed = [], rounding(case, dtype, weights)
    for one, two in itertools.product(names, names):
        findings += compare(f"block {one}, {two}", ours[one][two], theirs[one][two], TOLERANCE[dtype], allowed)
    return findings


CONTRACT = (values_and_gradients, structure, low_precision, mapped, second_order)


def covering(proof: Proof) -> list[int]:
    """Few drawn cases that show each feature of `proof.covers`; the first two among them.

    After them, of the first CHEAP cases, all that need no other program: most of the cost is compilation.
    """
    shown_by = [proof.case(number).configuration.features & proof.covers for number in range(DRAWN)]
    numbers = [0, 1]
    missing = proof.covers.difference(*(shown_by[number] for number in numbers))
    while missing and any(missing & shown for shown in shown_by):
        numbers.append(max(range(DRAWN), key=lambda number: len(missing & shown_by[number])))
        missing -= shown_by[numbers[-1]]
    programs = {_program(proof.case(number)) for number in numbers}
    return [*numbers, *(n for n in range(CHEAP) if n not in numbers and _program(proof.case(n)) in programs)]


def _program(case: Case) -> str:
    return f"{case.static} {[(name, array.shape, array.dtype) for name, array in case.arrays.items()]}"


def wrong_cases(contract_check: Callable[[Case], list[str]], proof: Proof, indices: Iterable[int]) -> list[str]:
    """Lines about the drawn cases of these numbers that are wrong, with the first finding of each; none if all pass."""
    lines, numbers = [], list(indices)
    for index in numbers:
        case = proof.case(index)
        try:
            findings = contract_check(case)
        except Exception as error:
            error.add_note(f"in {case}")
            raise
        if findings:
            more = f"\n    and {len(findings) - 1} more" * (len(findings) > 1)
            lines.append(f"{case}\n    {findings[0]}{more}")
    return [f"{len(lines)} of {len(numbers)} cases are wrong:", *lines[:SHOWN]] if lines else []


def checked(case: Case, letters: str, dtype: str = "float64", **options: Any) -> list[str]:
    """What `fnnet.check` finds wrong; also that a check could not be run."""
    arrays = case.in_dtype(dtype).values()
    report = check(case.function, *arrays, reference=case.reference, checks=letters, name=case.title, **options)
    return [*map(str, report.failures), *(f"{letter} is not run: {why}" for letter, why in report.not_run.items())]


def cotangent(case: Case, number: int) -> Any:
    """A Gaussian cotangent, of each output: ones would hide whatever sums over the output."""
    outputs, generator = jax.eval_shape(case.reference, *case.variables.values()), case.generator(10 + number)
    return jax.tree.map(lambda one: generator.normal(size=one.shape).astype(np.float32).astype(np.float64), outputs)


def rounding(case: Case, dtype: str, output_bar: Any) -> float:
    """What rounding of the cotangent's size may change, where gradients cancel."""
    ulps = 8 if case.proof.cancels else 0
    largest = max(float(np.abs(bar).max(initial=0.0)) for bar in jax.tree.leaves(output_bar))
    return ulps * float(jnp.finfo(dtype).eps) * largest


# Programs. Cases with the same static values share one: nearly all the cost is compilation.


def pulled(proof: Proof, function: Callable, static: Static, names: Sequence[str], dtype: str) -> Callable:
    """run(arrays, cotangent): the value in `dtype`, and the cotangent pulled back to each array of `names`."""

    def run(arrays: Arrays, cotangent: Any) -> tuple:
        arrays = cast(arrays, dtype)
        moving = {n: arrays[n] for n in names}
        value, pull = jax.vjp(lambda moving: proof.called(function, {**arrays, **moving}, dict(static)), moving)
        return value, pull(jax.tree.map(lambda bar, one: bar.astype(one.dtype), cotangent, value))[0]

    return run


@functools.lru_cache(maxsize=32)
def both(proof: Proof, static: Static, names: Names) -> Callable:
    """The rule in f64 and f32, and the reference in f64, at numbers that both dtypes have."""

    @jax.jit
    def run(arrays: Arrays, cotangent: Any) -> tuple:
        ours = {
            dtype: pulled(proof, proof.function, static, names, dtype)(arrays, cotangent)
            for dtype in ("float64", "float32")
        }
        return ours, pulled(proof, proof.reference, static, names, "float64")(arrays, cotangent)

    return run


@functools.lru_cache(maxsize=32)
def hessian_programs(proof: Proof, static: Static, names: Names) -> Callable:
    """jax.hessian of sum(weights * sin(output)), for the rule and for its reference."""

    def of(function: Callable, arrays: Arrays, weights: Any) -> Any:
        def loss(moving: Arrays) -> Any:
            outputs = proof.called(function, {**arrays, **moving}, dict(static))
            return sum(jax.tree.leaves(jax.tree.map(lambda w, one: jnp.sum(w * jnp.sin(one)), weights, outputs)))

        return jax.hessian(loss)({n: arrays[n] for n in names})

    @jax.jit
    def run(*args: Any) -> list:
        return [of(function, *args) for function in (proof.function, proof.reference)]

    return run


def compare(what: str, ours: Any, theirs: Any, tolerance: float, rounding: float = 0.0) -> list[str]:
    """Entry by entry |a - b| <= tolerance (|b| + rms of b) + rounding: nothing, or what is wrong with the worst."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        return [f"{what}: shape {ours.shape}, the reference has {theirs.shape}"]
    if not theirs.size:
        return []
    finite = np.isfinite(theirs)
    rms = np.sqrt(np.mean(np.square(theirs[finite]))) if finite.any() else 0.0
    allowed = tolerance * (np.abs(theirs) + rms) + rounding + UNDERFLOW
    with np.errstate(invalid="ignore"):
        error = np.abs(ours - theirs)
    same = np.where(finite, error <= allowed, (ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    if same.all():
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.where(same, 0.0, np.nan_to_num(error / allowed, nan=np.inf))
    at = np.unravel_index(np.argmax(excess), excess.shape)
    return [
        f"{what}: {(~same).sum()} of {same.size} entries differ; the worst at {tuple(map(int, at))}: {ours[at]}, the "
        f"reference has {theirs[at]}: {excess[at]:.3g} times the tolerance {tolerance:g}"
    ]
