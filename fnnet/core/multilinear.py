"""The pieces of a backward: the partial derivatives of one multilinear form.

A linear layer is a number T(x, kernel, g) = sum(g * layer(x, kernel)), linear in each operand. Its three partial
derivatives are the layer's output (by g), the gradient of the input (by x) and the gradient of the kernel (by kernel).
Each is linear in the operands that remain, and each derivative of one is another of the three: so derivatives of every
order are written by hand once there are three functions. A `custom_vjp` here instead would make `jax.hessian` raise.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax

from fnnet.core import primitives


class Form:
    """A multilinear form by its partial derivatives.

    Args:
        name: What jaxprs call it.
        derivatives: For each operand a function of the other ones, named after them, and of static keywords. All take
            leading batch axes on every operand but the parameters; a parameter's derivative sums over them.
        parameters: The operands without batch axes.

    An integer argument of the functions (the positions that a pooling chose) has batch axes and no derivative.

    `form.by("x", kernel=kernel, g=g)` is the partial derivative by x.
    """

    def __init__(
        self,
        name: str,
        derivatives: dict[str, Callable],
        *,
        parameters: Sequence[str] = (),
    ):
        """Defines one primitive for each derivative."""
        self.name, self.derivatives = name, derivatives
        self.parameters = tuple(parameters)
        self.names = {by: _positional(function) for by, function in derivatives.items()}
        self._primitives = {by: self._define(by) for by in derivatives}

    def by(self, operand: str, *, lanes: int = 0, static: dict[str, Any] | None = None, **others: Any) -> Any:
        """The partial derivative by `operand` at the others; along the first `lanes` axes stand separate forms."""
        args = primitives.same_varying([others[name] for name in self.names[operand]])
        return self._primitives[operand].bind(*args, lanes=lanes, **(static or {}))[0]

    def _define(self, by: str) -> Any:
        names = self.names[by]

        def run(*args: Any, lanes: int, **static: Any) -> list:
            function = functools.partial(self.derivatives[by], **static)
            for _ in range(lanes):
                function = jax.vmap(function)
            return [function(*args)]

        def jvp(primals: Sequence, tangents: Sequence, **params: Any) -> tuple[list, list]:
            out = new.bind(*primals, **params)
            terms = [
                new.bind(*primals[:i], dot, *primals[i + 1 :], **params)[0]
                for i, dot in enumerate(tangents)
                if dot is not None
            ]
            return out, [functools.reduce(lambda a, b: a + b, terms) if terms else None]

        def batch(args: Sequence, dims: Sequence, size: Any, *, lanes: int, **static: Any) -> tuple[list, list[int]]:
            mapped = [name for name, dim in zip(names, dims, strict=True) if dim is not None]
            if by in self.parameters or any(name in self.parameters for name in mapped):  # a parameter for each: a lane
                moved = [primitives.to_axis(a, dim, size, 0) for a, dim in zip(args, dims, strict=True)]
                return new.bind(*moved, lanes=lanes + 1, **static), [0]
            moved = [
                a if name in self.parameters else primitives.to_axis(a, dim, size, lanes)
                for name, a, dim in zip(names, args, dims, strict=True)
            ]
            return new.bind(*moved, lanes=lanes, **static), [lanes]

        def transposed(output_bar: Any, args: Sequence, which: int, *, lanes: int, **static: Any) -> Any:
            others = {**dict(zip(names, args, strict=True)), by: output_bar}
            return self.by(names[which], lanes=lanes, static=static, **others)

        new = primitives.primitive(f"{self.name}.by_{by}", run, jvp, batch)
        primitives.transpose(new, transposed)
        return new


def _positional(function: Callable) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)
