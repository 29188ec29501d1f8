"""The rule and the reference that a command line names, `module:function`, and their arguments in order."""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fnnet.core.one_line import in_one_line
from fnnet.core.registration import Rule
from fnnet.core.suggestions import did_you_mean


def found(option: str, target: str) -> Any:
    """The object that "module:name" names; the current directory is importable.

    Raises:
        ValueError: There is no such module or name, or importing the module raises.
    """
    where = f"check: {option} {target}".replace("  ", " ")
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"{where} must be a module, a colon and a name, such as package.module:function")
    if module.endswith(".py") or "/" in module:
        dotted = module.removesuffix(".py").strip("./").replace("/", ".")
        raise ValueError(f"{where} must name a module, not a file; did you mean {dotted}:{attribute}?")
    value = imported(where, module)
    for part in attribute.split("."):
        if not hasattr(value, part):
            names = [name for name in dir(value) if not name.startswith("__")]
            raise ValueError(f"{where}: {module} has no {part!r}{did_you_mean(part, names)}")
        value = getattr(value, part)
    return value


def is_module(name: str) -> bool:
    """Whether a module of that name can be found, here or installed."""
    _make_current_directory_importable()
    try:
        return re.fullmatch(r"[\w.]+", name) is not None and importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def imported(where: str, name: str) -> Any:
    """The module; a ValueError that begins with `where` says why it cannot be imported."""
    _make_current_directory_importable()
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as problem:
        missing = problem.name if isinstance(problem, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            raise ValueError(f"{where}: there is no module {missing}, neither here nor installed") from None
        raise ValueError(f"{where}: importing {name} raises {in_one_line(problem)}") from None


def _make_current_directory_importable() -> None:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


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
