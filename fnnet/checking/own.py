"""The rules and proofs that the command line names, and a run of the checker at one of their examples."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from fnnet import proofs
from fnnet.checking.runner import run
from fnnet.core.importing import found, imported, is_module
from fnnet.core.suggestions import did_you_mean
from fnnet.proofs import Case, Proof

DOTTED = re.compile(r"(?!.*\.py$)\w+(\.\w+)+")  # package.module, not file.py


def begin(case: Case, start: Callable = run, **options: Any) -> Any:
    """A run of the checker, or what else `start` makes; `options` are those of `fnnet.check`."""
    args = case.in_dtype("float32").values()
    return start(case.function, *args, reference=case.reference, name=case.title, **options)


def chosen(names: Sequence[str]) -> list[Case]:
    """The examples of the named rules, in the order of the proofs; those of all own rules without names.

    Raises:
        ValueError: There is no rule or proof of a name.
    """
    own = proofs.own()
    for name in names:
        if name not in own and not proofs_of(name):
            raise ValueError(f"check: there is no rule {name!r}{did_you_mean(name, own)}")
    of_others = [proof for name in names if name not in own for proof in proofs_of(name)]
    wanted = [proof for name, proof in own.items() if not names or name in names]
    return [case for proof in (*wanted, *of_others) for case in proof.at_examples()]


def proofs_of(target: str) -> list[Proof]:
    """The proof "module:proof", or all proofs of a module; none if the target is something else.

    Raises:
        ValueError: The module is not there, cannot be imported, registers no proof, or has nothing of that name.
    """
    if ":" in target:
        value = found(f"check: {target}", target)
        return [value] if isinstance(value, Proof) else []
    if not is_module(target) and not DOTTED.fullmatch(target):
        return []
    registered = proofs.proofs_in(imported("check", target))
    if not registered:
        raise ValueError(f"check: module {target} registers no proof; a function of it is {target}:function")
    return registered
