"""The checks of the table. Each takes a case, with its row, and returns findings: none where the rule is right.

They are plain functions, to be run on any rule that has a reference. The reference is always differentiated by JAX, in
f64. Nearly all the cost is compilation: so what a check computes of a case is one program (`programs`).
"""

import functools
import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from contract import programs
from contract.cases import Case
from contract.comparison import Finding, compare

TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "bfloat16": 0.05}
COTANGENTS = 3
EXAMPLES = 3


def reference(case: Case) -> list[Finding]:
    """Value and every entry of every gradient, in f64 and f32, for three cotangents."""
    findings = []
    with jax.enable_x64(True):
        for number in range(COTANGENTS):
            cotangent = _cotangent(case, number)
            ours, theirs = programs.both(case.row, case.static, case.differentiable)(case.arrays, cotangent)
            for dtype, (value, bars) in ours.items():
                if number == 0:
                    findings += compare("reference", f"value in {dtype}", value, theirs[0], TOLERANCE[dtype])
                findings += _compare_bars(case, "reference", f" in {dtype}", bars, theirs[1], dtype, cotangent)
    return findings


def low_precision(case: Case) -> list[Finding]:
    """The same in bf16, at the same bf16 numbers, as near as bf16 is."""
    dtype = "bfloat16"
    with jax.enable_x64(True):
        # Rounded out here: XLA may leave out a conversion to bf16 and back.
        cotangent = _cotangent(case, 0).astype(dtype).astype("float64")
        arrays = programs.cast(programs.cast(case.arrays, dtype), "float64")
        program = programs.both(case.row, case.static, case.differentiable, (dtype,))
        ours, (expected, expected_bars) = program(arrays, cotangent)
    value, bars = jax.tree.map(lambda a: a.astype("float32"), ours[dtype])
    findings = compare("low precision", f"value in {dtype}", value, expected, TOLERANCE[dtype])
    return findings + _compare_bars(case, "low precision", f" in {dtype}", bars, expected_bars, dtype, cotangent)


def structure(case: Case) -> list[Finding]:
    """Shape and exact dtype of the value and of every cotangent, in f64, f32 and bf16, with and without 64-bit mode."""
    findings = []
    for wide, dtypes in ((True, ("float64", "float32", "bfloat16")), (False, ("float32", "bfloat16"))):
        for dtype in dtypes:
            with jax.enable_x64(wide):
                told = _misshapen(case, dtype)
            findings += [
                Finding("structure", f"{what} in {dtype}, 64-bit mode {wide}", detail) for what, detail in told
            ]
    return findings


def _misshapen(case: Case, dtype: str) -> list[tuple[str, str]]:
    arrays = programs.cast(case.arrays, dtype)
    expected = jax.ShapeDtypeStruct(_output_shape(case), dtype)
    value = jax.eval_shape(functools.partial(programs.call, case.row.function, case.static), arrays)
    if (value.shape, value.dtype) != (expected.shape, expected.dtype):
        return [("value", f"{value}, not {expected}")]
    pulled = programs.pulled(case.row.function, case.static, case.differentiable, dtype)
    _, bars = jax.eval_shape(pulled, arrays, expected)
    return [
        (f"cotangent of {name}", f"{bar}, not {arrays[name].shape} {arrays[name].dtype}")
        for name, bar in bars.items()
        if (bar.shape, bar.dtype) != (arrays[name].shape, arrays[name].dtype)
    ]


def mapped(case: Case, subset: tuple[str, ...]) -> list[Finding]:
    """vmap over the arrays of `subset` against a Python loop over the reference: value, grad of vmap, vmap of grad."""
    # A mapped axis need not stand in front: half of them are the last one.
    axes = {name: -((case.index + i) % 2) for i, name in enumerate(case.arrays) if name in subset}
    examples = [case.example(number) for number in range(EXAMPLES)]
    singles = [{n: (example if n in subset else case.arrays)[n] for n in case.arrays} for example in examples]
    stacked = case.arrays | {n: np.stack([e[n] for e in examples], axis) for n, axis in axes.items()}
    names, dtype = case.differentiable, "float64"

    with jax.enable_x64(True):
        cotangents = np.stack([_cotangent(case, number) for number in range(EXAMPLES)])
        program = programs.of_reference(case.row, case.static, names)
        looped = [program(single, bar) for single, bar in zip(singles, cotangents, strict=True)]
        in_axes = tuple((name, axes.get(name)) for name in case.arrays)
        mapped_program = programs.mapped(case.row, case.static, names, in_axes)
        value, summed, each = mapped_program(stacked, cotangents)

    what = f" with {', '.join(subset)} mapped"
    findings = compare("vmap", f"value{what}", value, np.stack([v for v, _ in looped]), TOLERANCE[dtype])
    expected_each = {n: np.stack([bars[n] for _, bars in looped]) for n in names}
    expected_summed = {n: np.moveaxis(bar, 0, axes[n]) if n in axes else bar.sum(0) for n, bar in expected_each.items()}
    findings += _compare_bars(case, "vmap of grad", what, each, expected_each, dtype, cotangents)
    return findings + _compare_bars(case, "grad of vmap", what, summed, expected_summed, dtype, cotangents)


def subsets(case: Case) -> Iterator[tuple[str, ...]]:
    """Every nonempty subset of the case's arrays."""
    names = tuple(case.arrays)
    for size in range(1, len(names) + 1):
        yield from itertools.combinations(names, size)


def second_order(case: Case) -> list[Finding]:
    """The gradient differentiated again in random directions: in reverse, by the cotangent too, and forward."""
    names = case.differentiable
    with jax.enable_x64(True):
        cotangent = _cotangent(case, 0)
        random = case.generator(2)
        weights, directions = ({n: random.normal(size=case.arrays[n].shape) for n in names} for _ in range(2))
        program = programs.second(case.row, case.static, names)
        ours, theirs = program(case.arrays, cotangent, weights, directions)
    largest = max((np.abs(a).max(initial=1.0) for a in (*weights.values(), *directions.values())), default=1.0)
    findings = []
    for contract, bars, expected in zip(("reverse over reverse", "forward over reverse"), ours, theirs, strict=True):
        findings += _compare_bars(case, contract, "", bars, expected, "float64", cotangent * largest)
    return findings


def hessian(case: Case) -> list[Finding]:
    """jax.hessian of a nonlinear function of the output, every block of it; for tiny cases."""
    names, dtype = case.differentiable, "float64"
    with jax.enable_x64(True):
        weights = _cotangent(case, 0)
        ours, theirs = programs.hessians(case.row, case.static, names)(case.arrays, weights)
    findings, rounding = [], _rounding(case, dtype, weights)
    for one, two in itertools.product(names, names):
        block = f"block {one}, {two}"
        findings += compare("hessian", block, ours[one][two], theirs[one][two], TOLERANCE[dtype], rounding)
    return findings


@functools.lru_cache(maxsize=8)
def _output_shape(case: Case) -> tuple[int, ...]:
    return jax.eval_shape(functools.partial(programs.call, case.row.reference, case.static), case.arrays).shape


def _cotangent(case: Case, number: int) -> np.ndarray:
    """A Gaussian cotangent: ones would hide whatever sums over the output."""
    normal = case.generator(10 + number).normal(size=_output_shape(case))
    return normal.astype(np.float32).astype(np.float64)


def _rounding(case: Case, dtype: str, cotangent: np.ndarray) -> float:
    """What rounding of the cotangent's size may change, where gradients cancel; in bf16 any sum does."""
    ulps = 2 if dtype == "bfloat16" else 8 if case.row.cancels else 0
    return ulps * float(jnp.finfo(dtype).eps) * float(np.abs(cotangent).max(initial=0.0))


def _compare_bars(case: Case, contract: str, what: str, bars, expected, dtype: str, cotangent) -> list[Finding]:
    rounding, findings = _rounding(case, dtype, cotangent), []
    for name, bar in expected.items():
        findings += compare(contract, f"gradient of {name}{what}", bars[name], bar, TOLERANCE[dtype], rounding)
    return findings
