"""A public name without a description ends the build: one that no page shows, or that has no docstring.

Public is what the file `__init__.py` of one of these namespaces imports.
"""

import ast
import inspect
from collections.abc import Container
from importlib import import_module

NAMESPACES = tuple("fnnet" + room for room in ("", ".checking", ".data", ".interop", ".layers", ".proofs", ".serving"))


def public_names(namespace: str) -> list[str]:
    """The full names of what a namespace imports, at once or for types alone."""
    tree = ast.parse(inspect.getsource(import_module(namespace)))
    body = [node for top in tree.body for node in (top.body if isinstance(top, ast.If) else [top])]
    imported = [alias.asname or alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names]
    return [f"{namespace}.{name}" for name in imported if not name.startswith("_")]


def found(name: str) -> object:
    """The object of a full name."""
    namespace, _, last = name.rpartition(".")
    return getattr(import_module(namespace), last)


def members(thing: object) -> list[str]:
    """The public functions and properties that a class of fnnet's itself defines."""
    own = vars(thing).items() if inspect.isclass(thing) else ()
    described = (property, classmethod, staticmethod)
    return [
        name for name, value in own if name[0] != "_" and (inspect.isfunction(value) or isinstance(value, described))
    ]


def undescribed(shown: Container[str], names: list[str]) -> list[str]:
    """What is wrong with these names, given those that the pages show; a thing with two names is shown under one."""
    problems = []
    seen = {id(found(name)) for name in names if name in shown}
    for name in names:
        thing = found(name)
        if id(thing) not in seen:
            problems.append(f"{name} is public and on no page of docs/api")
        described = [
            (name, thing.__doc__),
            *((f"{name}.{m}", inspect.getdoc(getattr(thing, m))) for m in members(thing)),
        ]
        problems += [f"{path} is public and has no docstring" for path, doc in described if not (doc or "").strip()]
    return problems


def setup(app):
    """Warn of every such name once all pages are read."""
    from sphinx.util import logging

    def look(app, env):
        domain = env.get_domain("py")
        names = [name for namespace in NAMESPACES for name in public_names(namespace)]
        for problem in undescribed({*domain.objects, *domain.modules}, names):
            logging.getLogger(__name__).warning(problem)

    app.connect("env-check-consistency", look)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
