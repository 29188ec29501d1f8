"""One drawn configuration: a rule, its arguments, a dtype, mapped axes; whether it agrees with an oracle.

The repr is Python that makes the configuration again.
"""

import functools
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.checking.contract import TOLERANCE, compare
from fnnet.checking.programs import compiler_options
from fnnet.proofs import own
from fnnet.proofs.proof import cast

Shape = tuple[int, ...]
Arrays = dict[str, Any]
Oracle = Callable[[str, dict[str, Any], Arrays, Any], tuple[Any, Arrays]]

TOLERANCES = TOLERANCE | {"bfloat16": 0.05, "float16": 0.01}
HALF = ("bfloat16", "float16")


@dataclass(frozen=True)
class Configuration:
    """A rule at arrays of these shapes.

    Args:
        rule: Its name.
        shapes: Of its arrays, without the mapped axes.
        static: Its keywords.
        dtype: Of the arrays.
        sizes: Of the axes of vmap, from the outermost.
        mapped: For each of them where it stands in the arrays that have it; other arrays are shared.
        per_example: Whether vmap stands around the gradient, not inside it.
        tied: Whether the values are a few small integers.
    """

    rule: str
    shapes: dict[str, Shape]
    static: dict[str, Any]
    dtype: str = "float64"
    sizes: Shape = ()
    mapped: tuple[dict[str, int], ...] = ()
    per_example: bool = False
    tied: bool = False

    def arrays(self) -> Arrays:
        """The arguments in f64, mapped axes included, at numbers that the dtype has."""
        random, found = self._generator(0), {}
        for name, shape in self.shapes.items():
            for size, axes in reversed(tuple(zip(self.sizes, self.mapped, strict=True))):
                if name in axes:
                    at = axes[name] % (len(shape) + 1)
                    shape = (*shape[:at], size, *shape[at:])
            found[name] = random.integers(-1, 2, shape) * 1.0 if self.tied else random.normal(size=shape)
        return self._rounded(found)

    def cotangent(self, shape: Shape) -> np.ndarray:
        """A Gaussian cotangent of an output of that shape."""
        normal = self._generator(1).normal(size=shape)
        return self._rounded({"cotangent": normal})["cotangent"]

    def findings(self, oracle: Oracle | None = None, options: dict[str, Any] | None = None) -> list[str]:
        """Where value and gradients differ from the oracle's.

        Args:
            oracle: oracle(rule, static, arrays, cotangent), for configurations without mapped axes. None: the plain
                form of jax.lax, differentiated by JAX in f64, in a loop over what is mapped.
            options: The compiler's, beside an oracle.
        """
        with jax.enable_x64(True):
            arrays, cotangent = self._given()
            if oracle is None:
                ours, theirs = jax.jit(self._both, compiler_options=compiler_options())(arrays, cotangent)
            else:
                ours = self.program(options)(cast(arrays, self.dtype), cotangent.astype(self.dtype))
                theirs = oracle(self.rule, self.static, arrays, cotangent)
            (value, bars), (expected, expected_bars) = jax.tree.map(np.asarray, (ours, theirs))
        if value.dtype != self.dtype or any(bar.dtype != self.dtype for bar in bars.values()):
            kinds = {name: str(bar.dtype) for name, bar in bars.items()}
            return [f"value and cotangents are {value.dtype} and {kinds}, not {self.dtype}"]
        tolerance, rounding = TOLERANCES[self.dtype], 0.0
        if self.dtype in HALF:  # a sum that cancels keeps the rounding of its terms
            rounding = 2 * float(jnp.finfo(self.dtype).eps) * float(np.abs(cotangent).max(initial=0.0))
        found = compare("value", _wide(value), expected, tolerance)
        for name, bar in bars.items():
            found += compare(f"gradient of {name}", _wide(bar), expected_bars[name], tolerance, rounding)
        return found

    def program(self, options: dict[str, Any] | None = None) -> Any:
        """The rule's value and gradients, compiled with these options."""
        with jax.enable_x64(True):
            arrays, cotangent = self._given()
            args = cast(arrays, self.dtype), cotangent.astype(self.dtype)
            return jax.jit(self._ours, compiler_options=options).lower(*args).compile()

    def line(self, oracle: str = "") -> str:
        """What to paste into a shell to see the findings again; `oracle` is a module of this folder."""
        imported = f"from drawn import {oracle}; " if oracle else ""
        given = f"{oracle}.pulled" if oracle else ""
        code = f"from drawn.configuration import Configuration; print(*{self!r}.findings({given}), sep='\\n')"
        return f'PYTHONPATH=tests python -c "{imported}{code}"'

    def _given(self) -> tuple[Arrays, np.ndarray]:
        """The arguments and the cotangent of the output, in f64."""
        lane = {name: jax.ShapeDtypeStruct(shape, jnp.float64) for name, shape in self.shapes.items()}
        output = jax.eval_shape(functools.partial(own()[self.rule].reference, **self.static), **lane)
        return self.arrays(), self.cotangent((*self.sizes, *output.shape))

    def _generator(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([zlib.crc32(repr(self).encode()), stream])

    def _rounded(self, arrays: Arrays) -> Arrays:
        dtype = self.dtype if self.dtype in HALF else "float32"
        return {name: array.astype(dtype).astype(np.float64) for name, array in arrays.items()}

    def _both(self, arrays: Arrays, cotangent: Any) -> tuple:
        return self._ours(arrays, cotangent), self._theirs(arrays, cotangent)

    def _ours(self, arrays: Arrays, cotangent: Any) -> tuple[Any, Arrays]:
        """The rule under every vmap of the configuration."""
        arrays, cotangent = cast(arrays, self.dtype), cotangent.astype(self.dtype)
        function: Callable = functools.partial(_called, own()[self.rule].function, self.static)
        if self.per_example:
            function = functools.partial(_pulled, function)
        for axes in reversed(self.mapped):
            in_axes: Any = {name: axes.get(name) for name in self.shapes}
            function = jax.vmap(function, in_axes=(in_axes, 0) if self.per_example else (in_axes,))
        return function(arrays, cotangent) if self.per_example else _pulled(function, arrays, cotangent)

    def _theirs(self, arrays: Arrays, cotangent: Any) -> tuple[Any, Arrays]:
        """The reference in a loop over the examples, its gradients then put together as vmap would."""
        reference = functools.partial(_called, own()[self.rule].reference, self.static)
        many = math.prod(self.sizes)
        numbers = jnp.arange(many)

        def example(number: Any) -> tuple[Any, Arrays]:
            chosen, rest = dict(arrays), number
            for level, (size, axes) in enumerate(zip(self.sizes, self.mapped, strict=True)):
                inner = math.prod(self.sizes[level + 1 :])
                at, rest = rest // inner % size, rest % inner
                chosen |= {name: jnp.take(chosen[name], at, axis) for name, axis in axes.items()}
            return _pulled(reference, chosen, cotangent.reshape(many, *cotangent.shape[len(self.sizes) :])[number])

        values, each = jax.lax.map(example, numbers) if self.sizes else jax.tree.map(lambda a: a[None], example(0))
        value = values.reshape(*self.sizes, *values.shape[1:])
        bars = {name: bar.reshape(*self.sizes, *bar.shape[1:]) for name, bar in each.items()}
        return value, bars if self.per_example else {name: self._gathered(name, bar) for name, bar in bars.items()}

    def _gathered(self, name: str, bar: Any) -> Any:
        """Gradients by example (*sizes, *shape) as that of the whole array: summed where it is shared."""
        for level in reversed(range(len(self.sizes))):
            axis = self.mapped[level].get(name)
            bar = bar.sum(level) if axis is None else jnp.moveaxis(bar, level, level + axis % (bar.ndim - level))
        return bar


def _called(function: Any, static: dict[str, Any], arrays: Arrays) -> Any:
    return function(**arrays, **static)


def _pulled(function: Any, arrays: Arrays, cotangent: Any) -> tuple[Any, Arrays]:
    value, pull = jax.vjp(function, arrays)
    return value, pull(cotangent)[0]


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)
