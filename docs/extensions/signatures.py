"""Signatures as the source writes them: jaxtyping's `Float[Array, "batch inputs"]`, not what Python makes of it."""

import ast
import dataclasses
import inspect
import re
import textwrap
from typing import Any


def arguments_of(function: ast.FunctionDef, source: str) -> str:
    """(x: Float[Array, "n"], *, axis: int = -1) -> ..., without self."""
    given, parts = function.args, []
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + given.defaults
    parts += [written(one, default, source) for one, default in zip(positional, defaults, strict=True)]
    if given.vararg:
        parts.append("*" + written(given.vararg, None, source))
    elif given.kwonlyargs:
        parts.append("*")
    parts += [written(one, default, source) for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg:
        parts.append("**" + written(given.kwarg, None, source))
    return f"({', '.join(part for part in parts if part not in ('self', 'cls'))})"


def written(argument: ast.arg, default: ast.expr | None, source: str) -> str:
    """One argument with its annotation and default."""
    return joined(argument.arg, argument.annotation, default, source)


def joined(name: str, annotation: ast.expr | None, default: ast.expr | None, source: str) -> str:
    """Name: annotation = default."""
    text = name if annotation is None else f"{name}: {shape_words(ast.get_source_segment(source, annotation))}"
    return text if default is None else f"{text} = {ast.get_source_segment(source, default)}"


def shape_words(annotation: str | None) -> str:
    """Without the space that jaxtyping's single words begin with, lest linters take them for names."""
    return re.sub(r'(?<=, )" (?=\w)', '"', annotation or "")


def fields_of(cls: ast.ClassDef, source: str) -> str:
    """The arguments of a dataclass without an __init__ of its own."""
    parts = []
    for node in cls.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            parts.append("*" if node.target.id == "_" else joined(node.target.id, node.annotation, node.value, source))
    return f"({', '.join(parts)})"


def as_written(thing: Any) -> tuple[str, str] | None:
    """Arguments and result of a function or class; None where there is no source to read them from."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))
    except (OSError, TypeError):
        return None
    (node,) = ast.parse(source).body
    if isinstance(node, ast.FunctionDef):
        returns = ast.get_source_segment(source, node.returns) if node.returns else ""
        return arguments_of(node, source), shape_words(returns).strip("\"'")
    if not isinstance(node, ast.ClassDef):
        return None
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            return arguments_of(inner, source), ""
    if dataclasses.is_dataclass(thing) or hasattr(thing, "_fields"):
        return fields_of(node, source), ""
    return None


def on_signature(app, what, name, thing, options, signature, returns):
    """What autodoc asks for each object."""
    return as_written(thing) if what in ("function", "method", "class", "exception") else None


def setup(app):
    """Give autodoc the signatures."""
    app.connect("autodoc-process-signature", on_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
