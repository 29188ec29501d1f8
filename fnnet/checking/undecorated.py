"""A function without the custom backwards inside it: its own jaxpr, each rule replaced by the primal it decorates."""

import functools
from collections.abc import Callable
from typing import Any

import jax

INLINED = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")


def undecorated(function: Callable) -> Callable:
    """`function`, with every `jax.custom_vjp` and every `fnnet.rule` inside replaced by its primal.

    JAX's autodiff of it is independent of the hand-written backwards. Where there are none, custom_jvp functions are
    replaced instead.
    """

    def plain(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        found = _kinds(closed.jaxpr)
        targets = frozenset(found - {"custom_jvp_call"}) or frozenset(found)
        outs = _run(closed.jaxpr, closed.consts, jax.tree.leaves(args), targets)
        return jax.tree.unflatten(jax.tree.structure(shape), outs)

    return plain


def has_rules(function: Callable, args: tuple) -> bool:
    """Whether there is a custom derivative inside."""
    return bool(_kinds(jax.make_jaxpr(function)(*args).jaxpr))


def _run(jaxpr: Any, consts: list, args: list, targets: frozenset[str]) -> list:
    values: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else values[atom]

    values.update(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))
    for equation in jaxpr.eqns:
        outs = _apply(equation, [read(atom) for atom in equation.invars], targets)
        values.update(zip(equation.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: Any, args: list, targets: frozenset[str]) -> list:
    name, params = equation.primitive.name, equation.params
    if _kind(equation) in targets:
        if name.startswith("fnnet."):  # its implementation is the custom_vjp function
            closed = jax.make_jaxpr(functools.partial(equation.primitive.impl, **params))(*args)
        else:
            closed = params["call_jaxpr"]
        ((jaxpr, consts),) = _bodies(closed)
        return _run(jaxpr, consts, args, targets | {"custom_vjp_call"})
    found = [key for key, value in params.items() if any(_kinds(jaxpr) & targets for jaxpr, _ in _bodies(value))]
    if found and name in INLINED:
        ((jaxpr, consts),) = _bodies(params[found[0]])
        return _run(jaxpr, consts, args, targets)
    replaced = dict(params)
    for key in found:
        plain = [_stripped(jaxpr, consts, targets) for jaxpr, consts in _bodies(params[key])]
        replaced[key] = type(params[key])(plain) if isinstance(params[key], tuple | list) else plain[0]
    outs = equation.primitive.bind(*args, **equation.primitive.get_bind_params(replaced))
    return list(outs) if equation.primitive.multiple_results else [outs]


def _stripped(jaxpr: Any, consts: list, targets: frozenset[str]) -> Any:
    return jax.make_jaxpr(lambda *args: _run(jaxpr, consts, list(args), targets))(*(v.aval for v in jaxpr.invars))


def _kinds(jaxpr: Any) -> set[str]:
    """The sorts of custom derivative inside."""
    kinds = set()
    for equation in jaxpr.eqns:
        kind = _kind(equation)
        if kind:
            kinds.add(kind)
        for value in equation.params.values():
            for inner, _ in _bodies(value):
                kinds |= _kinds(inner)
    return kinds


def _kind(equation: Any) -> str:
    name = equation.primitive.name
    if name.startswith("fnnet.") and "call" in equation.params:
        return "fnnet.rule"
    return name if name in ("custom_vjp_call", "custom_jvp_call") else ""


def _bodies(value: Any) -> list[tuple[Any, list]]:
    """The jaxprs in a parameter of an equation, with their constants."""
    values = value if isinstance(value, tuple | list) else [value]
    return [
        (getattr(v, "jaxpr", v), list(getattr(v, "consts", ())))
        for v in values
        if hasattr(v, "eqns") or hasattr(v, "jaxpr")
    ]
