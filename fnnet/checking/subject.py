"""What is checked: a function with a custom backward, its example arguments, and a reference.

A rule comes as an `fnnet.rule`, a `jax.custom_vjp`, a pair of a raw forward and backward, or inside any function.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.checking.kinds import Origin
from fnnet.checking.leaves import replaced
from fnnet.checking.undecorated import undecorated
from fnnet.core.primitives import is_inexact
from fnnet.core.registration import Rule


@dataclass(frozen=True, eq=False)
class Subject:
    """A rule at example arguments, with its static values bound.

    Args:
        name: What the report calls it.
        function: function(*args), differentiable.
        forward: The raw forward, or None: forward(*args) -> (output, residuals).
        backward: The raw backward, or None: backward(residuals, output_bar) -> one cotangent an argument.
        reference: reference(*args), plain JAX, or None.
        origin: Where the reference comes from.
        own_batching: Whether more than JAX's own batching of custom_vjp decides what vmap does.
        batched: The arguments of a fnnet.rule that may carry leading batch axes.
        names: Of the arguments.
        tree: Structure of the arguments.
        leaves: Their leaves, NumPy arrays.
        paths: Of the leaves, such as "params['kernel']".
        owners: The argument that each leaf belongs to.
    """

    name: str
    function: Callable
    forward: Callable | None
    backward: Callable | None
    reference: Callable | None
    origin: Origin
    own_batching: bool
    batched: tuple[str, ...]
    names: tuple[str, ...]
    tree: Any
    leaves: tuple[Any, ...]
    paths: tuple[str, ...]
    owners: tuple[int, ...]

    @functools.cached_property
    def with_gradient(self) -> tuple[int, ...]:
        """Indices of the leaves that have a gradient."""
        return tuple(i for i, leaf in enumerate(self.leaves) if is_inexact(leaf))

    def select(self, leaves: Sequence) -> list:
        """Those of these leaves that have a gradient."""
        return [leaves[i] for i in self.with_gradient]

    @property
    def gradient_paths(self) -> list[str]:
        """Paths of the leaves that have a gradient."""
        return self.select(self.paths)

    def merge(self, leaves: Sequence) -> tuple:
        """The arguments that these leaves make."""
        return jax.tree.unflatten(self.tree, leaves)


def inexact_leaves(output: Any) -> list:
    """The leaves of an output that take a cotangent."""
    return [leaf for leaf in jax.tree.leaves(output) if is_inexact(leaf)]


def subject_of(
    f: Any, args: tuple, reference: Callable | None, static: Mapping[str, Any] | None, name: str | None
) -> Subject:
    """The subject that the arguments of `check` describe."""
    static = dict(static or {})
    _require_numbers(args, static)
    _require_examples(f, args, static)
    if isinstance(f, Rule):
        form = _of_rule(f, args, static)
    elif isinstance(f, jax.custom_vjp):
        form = _of_custom_vjp(f, args, static)
    elif _is_pair(f):
        form = _of_pair(f[0], f[1], args, static)
    elif callable(f):
        form = _of_function(f, args, static)
    else:
        raise _no_function(f, args)
    names, arrays = form.pop("names"), form.pop("arrays")
    prepared = jax.tree.map(_as_array, arrays)
    pairs, tree = jax.tree.flatten_with_path(prepared)
    if reference is not None:
        form |= {"reference": _filled(reference, args, static), "origin": Origin.GIVEN}
    return Subject(
        name=name or form.pop("name"),
        **{k: v for k, v in form.items() if k not in ("name", "batched")},
        batched=form.get("batched", ()),
        names=names,
        tree=tree,
        leaves=tuple(leaf for _, leaf in pairs),
        paths=tuple(names[path[0].idx] + jax.tree_util.keystr(path[1:]) for path, _ in pairs),
        owners=tuple(path[0].idx for path, _ in pairs),
    )


def _require_numbers(args: tuple, static: Mapping[str, Any]) -> None:
    """TypeError inside jax.jit and its like, where arrays have no values."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((jnp.zeros(()), args, static))):
        raise TypeError(
            "check: it runs inside jax.jit, jax.grad or jax.vmap, where arrays have no numbers to compare; call check "
            "outside of them"
        )


def _require_examples(f: Any, args: tuple, static: Mapping[str, Any]) -> None:
    """TypeError if there are fewer example arguments than f needs."""
    signature = f.signature if isinstance(f, Rule) else _signature(f[0] if isinstance(f, tuple | list) and f else f)
    if signature is None or set(static) - set(signature.parameters):
        return
    wanted = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p.name for p in wanted if p.default is p.empty and p.name not in static]
    if len(args) < len(needed):
        name = getattr(f, "name", getattr(f, "__name__", "f")).replace("<lambda>", "f")
        call = ", ".join(["(forward, backward)" if _is_pair(f) else name, *needed])
        raise TypeError(
            f"check: {name} needs an example of {', '.join(needed[len(args) :])}; write check({call}) with the arrays "
            "at which its backward is checked"
        )


def _no_function(f: Any, args: tuple) -> TypeError:
    if hasattr(f, "shape"):
        given = f"an array of shape {tuple(f.shape)}"
    else:
        given = f"={f!r}" if len(repr(f)) < 60 else f"a {type(f).__name__}"
    turn = "; f comes first, its example arguments after it" if not args or callable(args[0]) else ""
    return TypeError(
        f"check: f ({given}) must be a function with a custom backward, or a pair (forward, backward){turn}"
    )


def _is_pair(f: Any) -> bool:
    return isinstance(f, tuple | list) and len(f) == 2 and all(map(callable, f))


def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _of_rule(f: Rule, args: tuple, static: dict) -> dict[str, Any]:
    bound, _ = _bound(f.signature, f.name, args, static)
    arrays = tuple(bound.arguments[n] for n in f.arrays)
    static = {k: v for k, v in bound.arguments.items() if k not in f.arrays}
    forward, backward = functools.partial(f.forward, **static), functools.partial(f.backward, **static)
    return {
        "name": f.name, "function": functools.partial(f, **static), "forward": forward, "backward": backward,
        "reference": lambda *arrays: forward(*arrays)[0], "origin": Origin.ITSELF, "own_batching": True,
        "batched": f.batched, "names": f.arrays, "arrays": arrays,
    }  # fmt: skip


def _of_custom_vjp(f: Any, args: tuple, static: dict) -> dict[str, Any]:
    """The values of nondiff_argnums are taken out, wherever they were given."""
    values, names, given = _placed(f.fun, args, static)
    fixed = {i for i in range(len(values)) if i in f.nondiff_argnums or i not in given}
    free = [i for i in range(len(values)) if i not in fixed]
    differentiated = [i for i in range(len(values)) if i not in f.nondiff_argnums]

    def fill(arrays: Sequence) -> list:
        return replaced(values, free, arrays)

    def forward(*arrays: Any) -> Any:
        filled = fill(arrays)
        if f.symbolic_zeros:
            wrapped = jax.custom_derivatives.CustomVJPPrimal
            filled = [
                jax.tree.map(lambda a: wrapped(a, True), v) if i in differentiated else v for i, v in enumerate(filled)
            ]
        return f.fwd(*filled)

    def backward(residuals: Any, output_bar: Any) -> Any:
        cotangents = f.bwd(*(values[i] for i in f.nondiff_argnums), residuals, output_bar)
        if len(free) == len(differentiated) or not isinstance(cotangents, tuple | list):
            return cotangents
        return tuple(bar for i, bar in zip(differentiated, cotangents, strict=True) if i in free)

    return {
        "name": getattr(f.fun, "__name__", "rule"), "function": lambda *arrays: f(*fill(arrays)),
        "forward": forward, "backward": backward, "reference": lambda *arrays: f.fun(*fill(arrays)),
        "origin": Origin.ITSELF, "own_batching": False,
        "names": tuple(names[i] for i in free), "arrays": tuple(values[i] for i in free),
    }  # fmt: skip


def _of_pair(forward: Callable, backward: Callable, args: tuple, static: dict) -> dict[str, Any]:
    forward, backward = functools.partial(forward, **static), functools.partial(backward, **static)
    function = jax.custom_vjp(lambda *arrays: forward(*arrays)[0])
    function.defvjp(lambda *arrays: forward(*arrays), lambda residuals, bar: backward(residuals, bar))
    name = getattr(forward.func, "__name__", "rule").strip("_").removesuffix("_fwd").removesuffix("_forward")
    return {
        "name": name, "function": function, "forward": forward, "backward": backward,
        "reference": lambda *arrays: forward(*arrays)[0], "origin": Origin.ITSELF, "own_batching": False,
        "names": _names(forward.func, len(args)), "arrays": tuple(args),
    }  # fmt: skip


def _of_function(f: Callable, args: tuple, static: dict) -> dict[str, Any]:
    """Python numbers and strings stay what they are: such a function may use them at trace time."""
    free = [i for i, a in enumerate(args) if not (isinstance(a, int | str) or callable(a))]

    def function(*arrays: Any) -> Any:
        return f(*replaced(args, free, arrays), **static)

    names = _names(f, len(args))
    if isinstance(f, jax.custom_jvp):
        reference = _filled(f.fun, args, static)
    else:
        reference = undecorated(function)
    return {
        "name": getattr(f, "__name__", type(f).__name__), "function": function, "forward": None, "backward": None,
        "reference": reference, "origin": Origin.ITSELF, "own_batching": True,
        "names": tuple(names[i] for i in free), "arrays": tuple(args[i] for i in free),
    }  # fmt: skip


def _filled(reference: Callable, args: tuple, static: dict) -> Callable:
    """The reference as a function of the arrays alone; what is not an array keeps its place among the arguments."""

    def filled(*arrays: Any) -> Any:
        merged, rest = [], list(arrays)
        for arg in args if len(arrays) != len(args) else ():
            keep = isinstance(arg, int | str) or callable(arg)
            merged.append(arg if keep else rest.pop(0))
        signature = _signature(reference)
        if signature is None:
            return reference(*merged, *rest, **static)
        bound, _ = _bound(signature, "the reference", (*merged, *rest), static)
        return reference(*bound.args, **bound.kwargs)

    return filled


def _placed(function: Callable, args: tuple, static: dict) -> tuple[list, list[str], set[int]]:
    """All positional values, their names, and the positions of those that `args` gave."""
    signature = _signature(function)
    if signature is None:
        if static:
            raise TypeError(f"check: {function!r} has no signature, so static values must be positional")
        return list(args), [f"argument {i}" for i in range(len(args))], set(range(len(args)))
    bound, in_order = _bound(signature, getattr(function, "__name__", "the function"), args, static)
    names = [
        *(p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)),
        *(f"argument {i}" for i in range(len(bound.args))),
    ]
    return list(bound.args), names, in_order


def _bound(
    signature: inspect.Signature, name: str, args: tuple, static: Mapping[str, Any]
) -> tuple[inspect.BoundArguments, set[int]]:
    """The arguments, static ones by name and the others in order; and the positions of the others."""
    values: list[Any] = []
    by_name, rest, in_order = dict(static), list(args), set()
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            break
        if parameter.name in by_name:
            values.append(by_name.pop(parameter.name))
        elif rest:
            in_order.add(len(values))
            values.append(rest.pop(0))
        elif parameter.default is not parameter.empty:
            values.append(parameter.default)
        else:
            break
    in_order |= set(range(len(values), len(values) + len(rest)))
    try:
        bound = signature.bind(*values, *rest, **by_name)
    except TypeError as error:
        told = f"{len(args)} positional" + (f", static {', '.join(static)}" if static else "")
        raise TypeError(f"check: {name}{signature} does not take these arguments ({told}): {error}") from None
    bound.apply_defaults()
    return bound, in_order


def _names(function: Callable, count: int) -> tuple[str, ...]:
    signature = _signature(function)
    parameters = [] if signature is None else signature.parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return tuple((names + [f"argument {i}" for i in range(len(names), count)])[:count])


def _as_array(leaf: Any) -> Any:
    """The leaf as an array of the dtype that JAX gives it under the caller's settings; random keys stay."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return leaf
    try:
        array = np.asarray(leaf)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "biufcV":
        raise TypeError(f"check: {leaf!r} among the arguments is not an array; give static values with static=")
    if isinstance(leaf, float | int | complex):
        return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
