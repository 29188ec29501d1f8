"""The pieces of a backward: the partial derivatives of one multilinear form.

A linear layer is a number T(x, kernel, y_bar) = sum(y_bar * layer(x, kernel)), linear in each operand. Its three
partial derivatives are y (by y_bar), x_bar (by x) and kernel_bar (by kernel). Each of them is linear in the operands
that remain, and its own derivatives are the other two: three functions written by hand give derivatives of every order.
With a `custom_vjp` function here instead, `jax.hessian` would raise an error.
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
        parameters: The operands without batch axes.
        derivatives: One function for each operand, under the name of its result: `x_bar` is the derivative by x, and
            `y` the one by y_bar. The positional arguments of a function are the other operands, its keyword-only
            arguments are static. All operands but the parameters may have leading batch axes; the derivative by a
            parameter sums over them.

    An integer argument (the positions that a pooling chose) has batch axes and no derivative.

    `form.x_bar(kernel, y_bar, window=window)` is the derivative by x.
    """

    def __init__(self, name: str, *, parameters: Sequence[str] = (), **derivatives: Callable):
        """Defines one primitive for each derivative."""
        self.name, self.parameters, self.derivatives = name, tuple(parameters), derivatives
        self.names = {of: _positional(function) for of, function in derivatives.items()}
        self._primitives = {of: self._define(of) for of in derivatives}

    def __getattr__(self, of: str) -> Callable:
        """The derivative with that name."""
        if of not in self.__dict__.get("derivatives", ()):
            raise AttributeError(f"{type(self).__name__} has no derivative {of!r}")
        return functools.partial(self._at, of)

    def _at(self, of: str, *operands: Any, lanes: int = 0, **static: Any) -> Any:
        """A derivative at the other operands; along the first `lanes` axes stand separate forms."""
        return self._primitives[of].bind(*primitives.same_varying(operands), lanes=lanes, **static)[0]

    def _define(self, of: str) -> Any:
        names = self.names[of]

        def run(*args: Any, lanes: int, **static: Any) -> list:
            function = functools.partial(self.derivatives[of], **static)
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
            mapped = [_dual(of), *(name for name, dim in zip(names, dims, strict=True) if dim is not None)]
            if any(name in self.parameters for name in mapped):  # each has its own parameter: one more lane
                moved = [primitives.to_axis(a, dim, size, 0) for a, dim in zip(args, dims, strict=True)]
                return new.bind(*moved, lanes=lanes + 1, **static), [0]
            moved = [
                a if name in self.parameters else primitives.to_axis(a, dim, size, lanes)
                for name, a, dim in zip(names, args, dims, strict=True)
            ]
            return new.bind(*moved, lanes=lanes, **static), [lanes]

        def transposed(output_bar: Any, args: Sequence, which: int, **params: Any) -> Any:
            operands = {**dict(zip(names, args, strict=True)), _dual(of): output_bar}
            other = _dual(names[which])
            return self._at(other, *(operands[name] for name in self.names[other]), **params)

        new = primitives.primitive(f"{self.name}.by_{_dual(of)}", run, jvp, batch)
        primitives.transpose(new, transposed)
        return new


def _dual(name: str) -> str:
    """The operand by which the derivative has this name, and the reverse: x and x_bar, y_bar and y."""
    return name.removesuffix("_bar") if name.endswith("_bar") else f"{name}_bar"


def _positional(function: Callable) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)
