"""The arguments of a rule that a command line names, in order."""

import inspect
from collections.abc import Mapping
from typing import Any

from fnnet.core.registration import Rule
from fnnet.core.suggestions import did_you_mean


def in_order(name: str, f: Any, arrays: Mapping[str, Any], static: Mapping[str, Any]) -> tuple[list, dict[str, Any]]:
    """Positional arguments in the order of f's parameters, and the static values that remain keywords.

    If f does not say what its parameters are, the arrays keep the order in which they were given.

    Raises:
        ValueError: f has no such argument, or one is missing, or given twice.
    """
    parameters = _parameters(f)
    if parameters is None or any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
        return list(arrays.values()), dict(static)
    positional = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for given in arrays:
        if given not in positional:
            also = "; use --static for it" if given in parameters else did_you_mean(given, positional)
            raise ValueError(f"check: --arg {given}: {name} has no such array{also}")
        if given in static:
            raise ValueError(f"check: {given} is given by --arg and by --static")
    for given in static:
        if given not in parameters and not free:
            raise ValueError(f"check: --static {given}: {name} has no such argument{did_you_mean(given, parameters)}")
    for wanted, parameter in parameters.items():
        missing = wanted not in arrays and wanted not in static and parameter.default is parameter.empty
        if missing and parameter.kind is parameter.KEYWORD_ONLY:
            raise ValueError(f"check: {name} needs --static {wanted}=...")
        if missing and wanted in positional:
            raise ValueError(f"check: {name} needs --arg {wanted}=...; its arguments are {', '.join(positional)}")
    last = max((positional.index(given) for given in arrays), default=-1)
    values = {**arrays, **static}
    return (
        [values.get(n, parameters[n].default) for n in positional[: last + 1]],
        {given: value for given, value in static.items() if given not in positional[: last + 1]},
    )


def _parameters(f: Any) -> Mapping[str, inspect.Parameter] | None:
    if isinstance(f, Rule):
        return f.signature.parameters
    try:
        return inspect.signature(f[0] if isinstance(f, tuple | list) and f else f).parameters
    except (TypeError, ValueError):
        return None
