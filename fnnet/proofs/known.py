"""The proofs that are known: fnnet's own, and those that `register` made known."""

import functools
import importlib
import pkgutil
from types import ModuleType
from typing import Any

from fnnet.core.partials import is_partial
from fnnet.proofs.proof import Proof

_REGISTERED: list[Proof] = []


def register(proof: Proof) -> Proof:
    """Make the proof of a rule outside fnnet known to `reference_of`, and so to `fnnet.trace`; returns the proof.

    Example:
        >>> import fnnet, jax.numpy as jnp
        >>> from fnnet.proofs import Configuration, Proof, register
        >>> square = fnnet.rule(lambda x: (x * x, x), lambda x, y_bar: (2 * x * y_bar,), batched=("x",))
        >>> three = Configuration(lambda generator: {"x": generator.normal(size=3)})
        >>> SQUARE = register(Proof(square, reference=jnp.square, examples=(three,)))
    """
    _REGISTERED.append(proof)
    return proof


def proofs_in(module: ModuleType) -> list[Proof]:
    """The proofs that a module defines, in order."""
    return [value for value in vars(module).values() if isinstance(value, Proof)]


@functools.cache
def own() -> dict[str, Proof]:
    """The proofs of fnnet's own rules, by name: those of every file of this folder."""
    folder = importlib.import_module("fnnet.proofs")
    modules = [importlib.import_module(f"fnnet.proofs.{found.name}") for found in pkgutil.iter_modules(folder.__path__)]
    return {proof.name: proof for module in modules for proof in proofs_in(module)}


def reference_of(function: Any) -> Any:
    """The independent reference of a function that has a proof, with the same keywords bound; None for another.

    It looks through `functools.partial` with keywords; a partial with positional arguments has no reference.
    """
    keywords: dict[str, Any] = {}
    while is_partial(function) and not function.args:
        keywords = {**function.keywords, **keywords}
        function = function.func
    found = (proof for proof in (*reversed(_REGISTERED), *own().values()) if proof.function is function)
    proof = next(found, None)
    return None if proof is None else functools.partial(proof.reference, **keywords)
