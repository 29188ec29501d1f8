"""A function computed operation by operation: what it means, whatever XLA makes of several operations together.

XLA computes one operation rightly, but for convolutions that crop, which are cropped first here (openxla/xla#48713). A
loop is one operation; it is compiled with `fnnet.safe_options`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.compiler import safe_options
from fnnet.core.jaxprs import Equation, Program

LOOPS = ("scan", "while", "cond")


def by_operation(program: Program, args: Sequence[Any]) -> Any:
    """program(*args), each operation computed by itself."""
    computed = values(program, args)
    return jax.tree.unflatten(program.out_tree, [computed[i] for i in program.outputs])


def values(program: Program, args: Sequence[Any]) -> dict[int, Any]:
    """Every value of a program, by its index."""
    computed = dict(enumerate(map(jnp.asarray, jax.tree.leaves(args))))
    for equation in program.equations:
        outs = _alone(equation)(*(computed[i] for i in equation.inputs))
        computed.update(zip(equation.outputs, outs, strict=True))
    return computed


def _alone(equation: Equation) -> Callable[..., Sequence]:
    if equation.name in LOOPS:
        return jax.jit(equation.run, compiler_options=safe_options())
    if equation.name == "conv_general_dilated":
        return lambda x, kernel: _convolved(equation, x, kernel)
    return equation.run


def _convolved(equation: Equation, x: Any, kernel: Any) -> list:
    """The input is cropped, padded and spread before the convolution where the convolution would crop it."""
    padding, spread = equation.params["padding"], equation.params["lhs_dilation"]
    if all(side >= 0 for sides in padding for side in sides):
        return equation.run(x, kernel)
    _, _, *axes = equation.params["dimension_numbers"].lhs_spec
    config = [(0, 0, 0)] * x.ndim
    for axis, (low, high), factor in zip(axes, padding, spread, strict=True):
        config[axis] = (low, high, factor - 1)
    placed = jax.lax.pad(x, x.dtype.type(0), config)
    return equation.with_params(padding=((0, 0),) * len(axes), lhs_dilation=(1,) * len(axes))(placed, kernel)
