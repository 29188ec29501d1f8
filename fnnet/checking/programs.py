"""Compiled programs of a subject and of its reference: value, and cotangents pulled back, on flat lists of leaves.

Compilation is nearly all the cost of a check. So one jitted function serves every shape and dtype, XLA does not
optimise, and one more cotangent is one more call of a program. `fnnet.safe_options` avoid XLA's known faults. Where a
rule still seems wrong, its programs run again operation by operation.
"""

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import numpy as np

from fnnet.checking.compilation.operations import by_operation
from fnnet.checking.errors import RaisedError
from fnnet.checking.leaves import Leaves, is_wide, replaced
from fnnet.checking.subject import Subject, inexact_leaves
from fnnet.core.compiler import safe_options
from fnnet.core.jaxprs import FlatJaxpr, flat_jaxpr

# Options of XLA; a backend or a version that does not know one goes without it. The older emitters of fusions take a
# third of the time, and one module of LLVM's instead of many four fifths.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
LARGE = 100_000
TRACING = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)


class Call(NamedTuple):
    """A call of a compiled program, and its result."""

    program: "Program"
    args: tuple
    result: Any


_alone: ContextVar[bool] = ContextVar("alone", default=False)
_calls: ContextVar[dict[Hashable, Call] | None] = ContextVar("calls", default=None)


@contextlib.contextmanager
def operation_by_operation() -> Iterator[None]:
    """Inside, every operation of a program is compiled by itself."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


@contextlib.contextmanager
def recorded() -> Iterator[dict[Hashable, Call]]:
    """The last call inside of each program at each set of shapes."""
    calls: dict[Hashable, Call] = {}
    token = _calls.set(calls)
    try:
        yield calls
    finally:
        _calls.reset(token)


class Program:
    """A function of arrays, compiled without optimisation; a function that cannot be traced runs as it is.

    `wide`: it runs in 64-bit mode; else in the mode that the caller of `check` has. `safe`: with `fnnet.safe_options`.
    `by_size`: it is optimised for arguments of more than LARGE entries, on which running it costs more than compiling.
    """

    def __init__(self, function: Callable, wide: bool, safe: bool = True, by_size: bool = False):
        """Nothing is compiled before the first call."""
        self.function, self.wide = function, wide
        self.compiled = jax.jit(function, compiler_options=compiler_options(safe))
        self.optimised = jax.jit(function, compiler_options=safe_options()) if by_size else self.compiled
        self.untraceable = ""
        self._shapes: dict[Hashable, Any] = {}
        self._operations: dict[Hashable, FlatJaxpr] = {}

    def __call__(self, *args: Any) -> Any:
        """The result, as NumPy arrays."""
        if _alone.get() and not self.untraceable:
            return self.alone(*args)
        with mode(self.wide):
            result = self._run(args)
            try:
                result = jax.tree.map(np.asarray, result)
            except Exception as problem:  # it was raised while the program ran, after the call had returned
                raise RaisedError(problem) from problem
        calls = _calls.get()
        if calls is not None and not self.untraceable:
            calls[self, _shapes_of(args)] = Call(self, args, result)
        return result

    def alone(self, *args: Any) -> Any:
        """The result, as NumPy arrays, each operation computed by itself."""
        with mode(self.wide):
            try:
                key = _shapes_of(args)
                if key not in self._operations:
                    self._operations[key] = flat_jaxpr(self.function, *args)
                return jax.tree.map(np.asarray, by_operation(self._operations[key], args))
            except TRACING:
                return jax.tree.map(np.asarray, self._eagerly(args))
            except Exception as problem:
                raise RaisedError(problem) from problem

    def shape(self, *args: Any) -> Any:
        """The shapes and dtypes of the result. Nothing is compiled; each set of shapes is traced once."""
        key = _shapes_of(args)
        if key not in self._shapes:
            self._shapes[key] = self._shape(args)
        return self._shapes[key]

    def _shape(self, args: tuple) -> Any:
        with mode(self.wide):
            try:
                return jax.eval_shape(self.compiled, *args)
            except TRACING:
                return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), self._eagerly(args))
            except Exception as problem:
                raise RaisedError(problem) from problem

    def jaxpr(self, *args: Any) -> Any:
        """The traced function; nothing is compiled."""
        with mode(self.wide):
            return jax.make_jaxpr(self.function)(*args)

    def _run(self, args: tuple) -> Any:
        if not self.untraceable:
            is_large = sum(np.size(leaf) for leaf in jax.tree.leaves(args)) > LARGE
            try:
                return self.optimised(*args) if is_large else self.compiled(*args)
            except TRACING as problem:
                result = self._eagerly(args)
                self.untraceable = type(problem).__name__
                return result
            except Exception as problem:
                raise RaisedError(problem) from problem
        return self._eagerly(args)

    def _eagerly(self, args: tuple) -> Any:
        try:
            return self.function(*jax.tree.map(jax.numpy.asarray, args))
        except Exception as problem:
            raise RaisedError(problem) from problem


def _shapes_of(args: tuple) -> Hashable:
    leaves, tree = jax.tree.flatten(args)
    return tree, tuple((np.shape(leaf), leaf.dtype) for leaf in leaves)


@contextlib.contextmanager
def mode(wide: bool) -> Iterator[None]:
    """Full precision, whatever the device's default. The checker itself looks for what is not finite, not JAX."""
    x64 = jax.enable_x64(True) if wide else contextlib.nullcontext()
    with jax.default_matmul_precision("highest"), jax.debug_nans(False), jax.debug_infs(False), x64:
        yield


@functools.cache
def compiler_options(safe: bool = True) -> dict[str, Any]:
    """The options with which this backend compiles fastest; `safe`: with `fnnet.safe_options`."""
    return {name: value for name, value in QUICK.items() if _is_known(name, value)} | (safe_options() if safe else {})


def _is_known(option: str, value: Any) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={option: value})()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def value_of(subject: Subject, function: Callable) -> Callable:
    """value(leaves) -> the floating leaves of the output."""
    return lambda leaves: inexact_leaves(function(*subject.merge(leaves)))


def pull_of(subject: Subject, function: Callable) -> Callable:
    """pull(leaves, bars) -> the floating leaves of the output, and the cotangents of the floating leaves."""

    def pull(leaves: Leaves, bars: Leaves) -> tuple[list, list]:
        outs, pulled = vjp(subject, function, leaves)
        return outs, list(pulled([bar.astype(out.dtype) for bar, out in zip(bars, outs, strict=True)]))

    return pull


def vjp(subject: Subject, function: Callable, leaves: Leaves) -> tuple[list, Callable]:
    """jax.vjp by the floating leaves: the output's floating leaves, and pulled(bars) -> cotangents."""
    return jax.vjp(of_gradient_leaves(subject, function, leaves), *subject.select(leaves))


def of_gradient_leaves(subject: Subject, function: Callable, leaves: Leaves) -> Callable:
    """`function` of the leaves that have a gradient alone; it gives the output's floating leaves."""
    value = value_of(subject, function)
    return lambda *given: value(replaced(leaves, subject.with_gradient, given))


class Programs:
    """The programs that the checks share."""

    def __init__(self, subject: Subject):
        """Nothing is compiled before it is called."""
        value, pull = value_of(subject, subject.function), pull_of(subject, subject.function)
        self.value = {wide: Program(value, wide) for wide in (False, True)}
        self.pull = {wide: Program(pull, wide) for wide in (False, True)}
        self.usual_value = {wide: Program(value, wide, safe=False) for wide in (False, True)}
        self.usual_pull = {wide: Program(pull, wide, safe=False) for wide in (False, True)}
        self.reference_pull: Program | None = None
        self.narrow_reference_pull: Program | None = None
        self.reference_in: dict[bool, Program] = {}
        self._made: dict[Hashable, Program] = {}
        if subject.reference is not None:
            self.reference_in = {wide: Program(value_of(subject, subject.reference), wide) for wide in (False, True)}
            self.reference_pull = Program(pull_of(subject, subject.reference), True)
            self.narrow_reference_pull = Program(pull_of(subject, subject.reference), False)

    def out_shapes(self, leaves: Leaves) -> list:
        """Shapes and dtypes of the floating outputs at these leaves."""
        return self.value[is_wide(leaves)].shape(leaves)

    def once(self, key: Hashable, function: Callable, wide: bool) -> Program:
        """The program of this key, made of `function` at the first request: another seed compiles nothing again."""
        return self._made.setdefault((key, wide), Program(function, wide))
