"""`.. rules::` shows the functions of every page of `fnnet.rules`; `.. derivations::` lists their derivations.

Both read the package: a new rule is on the site without being written down here. One without a proof ends the build.
"""

import inspect
import re
from importlib import import_module

import fnnet
from fnnet.proofs import own

WITHOUT_GRADIENT = ("max_pool_indices",)  # integers


def pages() -> dict[str, list[str]]:
    """The public functions of each module of `fnnet.rules`, in the order of their definitions."""
    found: dict[str, list[str]] = {}
    functions = {name: value for name, value in vars(fnnet).items() if inspect.isfunction(value)}
    for name in sorted(functions, key=lambda name: inspect.unwrap(functions[name]).__code__.co_firstlineno):
        package, _, module = functions[name].__module__.rpartition(".")
        if package == "fnnet.rules":
            found.setdefault(module, []).append(name)
    return dict(sorted(found.items()))


def derivation_of(module: str) -> str:
    """The page of docs/derivations that a module of `fnnet.rules` names, without its ending."""
    text = import_module(f"fnnet.rules.{module}").__doc__ or ""
    (page,) = re.findall(r"^Derivation: docs/derivations/(\w+)\.md$", text, re.MULTILINE)
    return page


def unproved() -> list[str]:
    """The public rules that have no proof."""
    return [name for names in pages().values() for name in names if name not in (*own(), *WITHOUT_GRADIENT)]


def reference() -> list[str]:
    """Each module's functions under the name of its page, with a link to the derivation."""
    lines = []
    for module, names in pages().items():
        link = f":doc:`derivation </derivations/{derivation_of(module)}>`"
        lines += ["", f".. rubric:: {module.replace('_', ' ').capitalize()} ({link})", ""]
        lines += [f".. autofunction:: fnnet.{name}" for name in names]
    return lines


def derivations() -> list[str]:
    """A line for each derivation, with the functions that it derives."""
    found: dict[str, list[str]] = {}
    for module, names in pages().items():
        found.setdefault(derivation_of(module), []).extend(names)
    return [
        f"- :doc:`/derivations/{page}`: {', '.join(f':func:`fnnet.{name}`' for name in names)}"
        for page, names in found.items()
    ]


def setup(app):
    """Add the two directives; a rule without a proof is a warning."""
    from sphinx.util import logging
    from sphinx.util.docutils import SphinxDirective

    class Rules(SphinxDirective):
        def run(self):
            for name in unproved():
                logging.getLogger(__name__).warning(f"fnnet.{name} has no proof in fnnet/proofs")
            return self.parse_text_to_nodes("\n".join(reference()))

    class Derivations(SphinxDirective):
        def run(self):
            return self.parse_text_to_nodes("\n".join(derivations()))

    app.add_directive("rules", Rules)
    app.add_directive("derivations", Derivations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
