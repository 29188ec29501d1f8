"""What a case of the collection is, and how a family of cases is made of one layer and many backwards."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax

import fnnet
from collection.circumstances import Circumstance, Here

# The checks of the checker, by letter.
CHECKS = {
    "S": "structure",
    "P": "primal",
    "R": "reference",
    "L": "linearity",
    "F": "finite differences",
    "V": "vmap",
    "T": "transforms",
    "E": "edge values",
    "B": "shapes",
    "D": "dtypes",
    "2": "second order",
    "X": "determinism",
    "M": "memory",
    "W": "power",
}

# wrong: some check must fail. right: none may. convention: differs from the reference at a kink or tie, within the
# subdifferential. bad reference: the rule is right and the reference is not. inconclusive: nothing can tell. trap: the
# rule is right and JAX's own batching of it is not, so that check V must speak.
VERDICTS = ("wrong", "right", "convention", "bad reference", "inconclusive", "trap")


@dataclass(frozen=True, eq=False)
class Case:
    """One rule of the collection, with the verdict that a checker has to reach.

    Args:
        name: "family: kind"; unique.
        f: A `jax.custom_vjp`, an `fnnet.rule`, any function with a custom backward inside, or the raw pair (forward,
            backward) with the conventions of `fnnet.rule`: forward(*args, **static) -> (output, residuals),
            backward(residuals, output_bar, **static) -> one cotangent an argument.
        args: args() -> the example arguments, as NumPy arrays; always the same.
        verdict: One of VERDICTS.
        note: What is wrong, in a line; of a right rule, what is difficult.
        reference: A plain JAX function of the same signature; None where the undecorated primal is the reference.
        static: Static keyword values.
        kind: What sort of error it is. Two wrong rules of one kind count once.
        caught_by: Letters of CHECKS; each of them ought to see it, and one that does suffices.
        source: Link to the public report that it reproduces, or "".
        waiver: Why somebody wants it so; then a checker that is told so may let it pass, and must print the reason.
        exposed_by: A circumstance under which rule and reference disagree: the proof that it is wrong.
    """

    name: str
    f: Callable | tuple[Callable, Callable]
    args: Callable[[], tuple]
    verdict: str
    note: str
    reference: Callable | None = None
    static: dict[str, Any] = field(default_factory=dict)
    kind: str = ""
    caught_by: frozenset[str] = frozenset()
    source: str = ""
    waiver: str = ""
    exposed_by: Circumstance = field(default_factory=Here)

    def __post_init__(self):
        assert self.verdict in VERDICTS, self
        assert self.caught_by <= CHECKS.keys(), self

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Layer:
    """A function and its forward rule; each backward that it is given makes a case.

    Backwards take the residuals one by one, then the output's cotangent: backward(*residuals, output_bar, **static).
    """

    family: str
    primal: Callable
    forward: Callable
    args: Callable[[], tuple]
    static: dict[str, Any] = field(default_factory=dict)
    reference: Callable | None = None
    form: str = "custom_vjp"

    def wrong(self, kind: str, backward: Callable, note: str, caught_by: str = "RF", **changes: Any) -> Case:
        """A case with an error; `changes` are other fields of Case, and form and forward."""
        return self._case(f"{self.family}: {kind}", "wrong", backward, note, changes, kind=kind, caught_by=caught_by)

    def right(self, name: str, backward: Callable, note: str = "", **changes: Any) -> Case:
        return self._case(f"{self.family}: {name}", "right", backward, note, changes)

    def convention(self, kind: str, backward: Callable, note: str, **changes: Any) -> Case:
        return self._case(f"{self.family}: {kind}", "convention", backward, note, changes, kind=kind, caught_by="E")

    def trap(self, name: str, backward: Callable, note: str, **changes: Any) -> Case:
        """A right rule that JAX's batching of custom_vjp gets wrong: silently on 0.10.2; newer versions raise."""
        return self._case(f"{self.family}: {name}", "trap", backward, note, changes, caught_by="V")

    def _case(self, name, verdict, backward, note, changes, kind="", caught_by="") -> Case:
        changes = {"reference": self.reference, "static": self.static, "args": self.args, "form": self.form} | changes
        form, forward = changes.pop("form"), changes.pop("forward", self.forward)
        primal = changes.pop("primal", self.primal)
        f = FORMS[form](primal, forward, unpacked(backward), tuple(changes["static"]))
        return Case(name, f, verdict=verdict, note=note, kind=kind, caught_by=frozenset(caught_by), **changes)


def unpacked(backward: Callable) -> Callable:
    """backward(residuals, output_bar, **static) of a backward that takes its residuals one by one."""

    @functools.wraps(backward)
    def packed(residuals: tuple, output_bar: Any, **static: Any) -> Any:
        return backward(*residuals, output_bar, **static)

    return packed


def as_custom_vjp(primal: Callable, forward: Callable, backward: Callable, static: tuple[str, ...] = ()) -> Callable:
    """A `jax.custom_vjp`; static arguments are its nondiff_argnums, by their place in the primal's signature."""
    names = list(inspect.signature(primal).parameters) if static else []
    static = tuple(sorted(static, key=names.index))
    f = jax.custom_vjp(primal, nondiff_argnums=tuple(names.index(name) for name in static))

    def positional(*values: Any) -> Any:
        *fixed, residuals, output_bar = values
        return backward(residuals, output_bar, **dict(zip(static, fixed, strict=True)))

    f.defvjp(forward, positional)
    return f


FORMS: dict[str, Callable] = {
    "custom_vjp": as_custom_vjp,
    "pair": lambda primal, forward, backward, static: (forward, backward),
    "rule": lambda primal, forward, backward, static: fnnet.rule(forward, backward),
    "rule with x batched": lambda primal, forward, backward, static: fnnet.rule(forward, backward, batched=("x",)),
}


def saving_inputs(family: str, primal: Callable, args: Callable, **more: Any) -> Layer:
    """A layer whose backward gets the arguments and g."""
    return Layer(family, primal, lambda *inputs: (primal(*inputs), inputs), args, **more)


def saving_all(family: str, primal: Callable, args: Callable, **more: Any) -> Layer:
    """A layer whose backward gets the arguments, the output and g."""

    def forward(*inputs: Any) -> tuple:
        output = primal(*inputs)
        return output, (*inputs, output)

    return Layer(family, primal, forward, args, **more)
