"""A function without the custom backwards inside it: its own jaxpr, each rule replaced by the primal it decorates."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from fnnet.core.jaxprs import all_equations, inner_jaxprs

INLINED = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")


def undecorated(function: Callable) -> Callable:
    """`function`, with every `jax.custom_vjp` and every `fnnet.rule` inside replaced by its primal.

    JAX's autodiff of it is independent of the hand-written backwards. If there are none, custom_jvp functions are
    replaced instead.
    """

    def plain(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        found = _kinds(closed.jaxpr)
        targets = frozenset(found - {"custom_jvp_call"}) or frozenset(found)
        outs = _run(closed, jax.tree.leaves(args), targets)
        return jax.tree.unflatten(jax.tree.structure(shape), outs)

    return plain


def has_rules(function: Callable, args: tuple) -> bool:
    """Whether there is a custom derivative inside."""
    return bool(_kinds(jax.make_jaxpr(function)(*args).jaxpr))


def _run(closed: Any, args: list, targets: frozenset[str]) -> list:
    jaxpr = closed.jaxpr
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*closed.consts, *args), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else values[atom]

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
        (called,) = inner_jaxprs(closed)
        return _run(called, args, targets | {"custom_vjp_call"})
    found = [
        key for key, value in params.items() if any(_kinds(inner.jaxpr) & targets for inner in inner_jaxprs(value))
    ]
    if found and name in INLINED:
        (called,) = inner_jaxprs(params[found[0]])
        return _run(called, args, targets)
    replaced = dict(params)
    for key in found:
        plain = [_stripped(inner, targets) for inner in inner_jaxprs(params[key])]
        replaced[key] = type(params[key])(plain) if isinstance(params[key], tuple | list) else plain[0]
    outs = equation.primitive.bind(*args, **equation.primitive.get_bind_params(replaced))
    return list(outs) if equation.primitive.multiple_results else [outs]


def _stripped(closed: Any, targets: frozenset[str]) -> Any:
    return jax.make_jaxpr(lambda *args: _run(closed, list(args), targets))(*closed.in_avals)


def _kinds(jaxpr: Any) -> set[str]:
    """The sorts of custom derivative inside."""
    return {kind for equation in all_equations(jaxpr) if (kind := _kind(equation))}


def _kind(equation: Any) -> str:
    name = equation.primitive.name
    if name.startswith("fnnet.") and "call" in equation.params:
        return "fnnet.rule"
    return name if name in ("custom_vjp_call", "custom_jvp_call") else ""
