"""What is asked of each case of the table; each returns what is wrong, in words: nothing where the rule is right.

All is the checker's work but for the first, which holds value and gradients to fixed tolerances, and the whole Hessian.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from contract import programs
from contract.cases import Case
from contract.comparison import compare

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
COTANGENTS = 3


def reference(case: Case) -> list[str]:
    """Value and every entry of every gradient, in f64 and f32, for three cotangents."""
    findings = []
    with jax.enable_x64(True):
        program = programs.both(case.row, case.static, case.differentiable)
        for number in range(COTANGENTS):
            output_bar = cotangent(case, number)
            ours, (value, bars) = program(case.arrays, output_bar)
            for dtype, (our_value, our_bars) in ours.items():
                allowed = rounding(case, dtype, output_bar)
                if number == 0:
                    findings += compare(f"value in {dtype}", our_value, value, TOLERANCE[dtype])
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
                told = case.check("S", dtype)
                value = jax.eval_shape(case.function, *case.in_dtype(dtype).values())
            findings += [f"{one} (in {dtype}, 64-bit mode {wide})" for one in told]
            if value.dtype != dtype:
                findings.append(f"the value in {dtype}, 64-bit mode {wide}, is {value.dtype}")
    return findings


def low_precision(case: Case) -> list[str]:
    """The same gradients in bf16 and f16, as near as their rounding lets them be."""
    return case.check("D", "float32", dtypes=("bfloat16", "float16"))


def mapped(case: Case) -> list[str]:
    """Every subset of the arguments under vmap: grad of vmap, and vmap of grad, against a loop."""
    return case.check("V")


def second_order(case: Case) -> list[str]:
    """The gradient differentiated again: in reverse, by the cotangent too, and forward."""
    return case.check("2", second_order=True)


def hessian(case: Case) -> list[str]:
    """jax.hessian of a nonlinear function of the output, every block of it; for tiny cases."""
    names, dtype = case.differentiable, "float64"
    with jax.enable_x64(True):
        weights = cotangent(case, 0)
        ours, theirs = programs.hessians(case.row, case.static, names)(case.arrays, weights)
    findings, allowed = [], rounding(case, dtype, weights)
    for one, two in itertools.product(names, names):
        findings += compare(f"block {one}, {two}", ours[one][two], theirs[one][two], TOLERANCE[dtype], allowed)
    return findings


def cotangent(case: Case, number: int) -> np.ndarray:
    """A Gaussian cotangent: ones would hide whatever sums over the output."""
    shape = jax.eval_shape(case.reference, *case.variables.values()).shape
    return case.generator(10 + number).normal(size=shape).astype(np.float32).astype(np.float64)


def rounding(case: Case, dtype: str, output_bar: np.ndarray) -> float:
    """What rounding of the cotangent's size may change, where gradients cancel."""
    ulps = 8 if case.row.cancels else 0
    return ulps * float(jnp.finfo(dtype).eps) * float(np.abs(output_bar).max(initial=0.0))
