"""The numbered equations of a rule, read from the rule's own page: the docstring at the head of its module.

An equation is a line that is indented by four spaces or more, of up to four columns with two spaces or more between:

    side  formula  (number)  remark

The side is "forward", "backward" or other words; a line without one has the side of the line above. A page may hold
several rules. A rule's own equations are those that its code quotes: a line of the forward or backward that computes
equation 2 ends in a comment that begins with `(2)`, and is shown beside the equation. Where that line calls another
function of the module, whose own lines quote the equation, these are shown. docs/rules.md has an example.
"""

import ast
import functools
import inspect
import re
import sys
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax

from fnnet.core.jaxprs import all_equations
from fnnet.core.partials import innermost
from fnnet.core.registration import Rule
from fnnet.layers.functions import Function
from fnnet.layers.protocol import function_name

EQUATION = re.compile(
    r"^ {4,}(?:(?P<side>[A-Za-z][A-Za-z ,]*) {2,}(?!=))?"
    r"(?P<formula>\S.*?) {2,}\((?P<number>\d+)\)(?: {2,}(?P<remark>\S.*))?$"
)
QUOTED = re.compile(r"#\s*(\(\d+\)(?:\s*(?:,|and|to)\s*\(\d+\))*)")
RANGE = re.compile(r"\((\d+)\)(?:\s*to\s*\((\d+)\))?")


@dataclass(frozen=True)
class Equation:
    """One numbered equation of a page.

    Args:
        number: As the page numbers it.
        side: "forward", "backward", or other words that the page has in front of it.
        formula: As the page writes it, in the language of fnnet/tracing/page/mathml.py.
        remark: What the page says beside it.
        code: The lines of the rule that quote its number.
    """

    number: int
    side: str
    formula: str
    remark: str
    code: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """A rule, as its page tells it.

    Args:
        rule: Its name.
        title: The first line of the page.
        equations: Those that its code quotes, in the page's order; all of the page's where the code quotes none.
        sources: What the page says of its sources.
        forward: The forward's code.
        backward: The backward's code.
    """

    rule: str
    title: str
    equations: tuple[Equation, ...]
    sources: str = ""
    forward: str = ""
    backward: str = ""


def pages_of(function: Callable, args: tuple, layer: Any) -> tuple[Page, ...]:
    """A page for each rule that `function` runs at `args`; if it runs none, one of the layer's own words."""
    found: dict[str, Page] = {}
    for rule in _rules(jax.make_jaxpr(function)(*args).jaxpr):
        found.setdefault(rule.name, page_of(rule))
    return tuple(found.values()) or (page_of_words(layer),)


@functools.lru_cache(maxsize=256)
def page_of(rule: Rule) -> Page:
    """The page of one rule."""
    module = sys.modules.get(getattr(rule.forward, "__module__", ""), None)
    text = inspect.getdoc(module) or "" if module else ""
    forward, backward = _source(rule.forward), _source(rule.backward)
    quotes = _quotes(rule.forward), _quotes(rule.backward)
    numbered = list(equations_of(text))
    own = [e for e in numbered if e.number in quotes[0] | quotes[1]]
    if not own:  # a rule of the reader's, perhaps with a docstring of its own
        text = _docstring(rule.forward) if rule.forward.__doc__ else text
        own = list(equations_of(text))
    with_code = tuple(Equation(e.number, e.side, e.formula, e.remark, _lines(e, *quotes)) for e in own)
    title = text.strip().splitlines()[0] if text.strip() else rule.name
    return Page(rule.name, title, with_code, _sources(text), forward, backward)


def page_of_words(layer: Any) -> Page:
    """What a layer without a rule says of itself: its docstring and its code."""
    function = innermost(layer.function if isinstance(layer, Function) else layer)
    name, text = function_name(function), inspect.getdoc(function) or ""
    # Of a wrapper, inspect would give the code of what it wraps, which need not be what it computes.
    code = _source(function) if inspect.isfunction(function) and not hasattr(function, "__wrapped__") else ""
    first = text.split("\n\n")[0].replace("\n", " ")
    return Page(name, first, tuple(equations_of(_docstring(function))), "", code, "")


def _lines(equation: Equation, forward: dict[int, list[str]], backward: dict[int, list[str]]) -> tuple[str, ...]:
    """The lines of code that are this equation: of the backward for one that goes back, else of the forward if any."""
    first, second = forward.get(equation.number, []), backward.get(equation.number, [])
    return tuple(second if equation.side == "backward" else first or second)


def equations_of(text: str) -> Iterator[Equation]:
    """The equations of a page."""
    side = ""
    for line in text.splitlines():
        match = EQUATION.match(line)
        if match:
            side = (match["side"] or side).strip()
            formula = re.sub(r" {2,}", "   ", re.sub(r" +=", " =", match["formula"]))
            yield Equation(int(match["number"]), side, formula, match["remark"] or "")


def _quotes(function: Callable, seen: tuple[Callable, ...] = ()) -> dict[int, list[str]]:
    """The lines of code that quote each equation: those in the functions that this one calls, where there are any."""
    found: dict[int, list[str]] = {}
    function, source = innermost(function), _source(function)
    for line in source.splitlines():
        match = QUOTED.search(line)
        for first, last in RANGE.findall(match[1]) if match else ():
            for number in range(int(first), int(last or first) + 1):
                found.setdefault(number, []).append(line.split("  #")[0].strip())
    home = getattr(function, "__module__", "")
    names = vars(sys.modules[home]) if home in sys.modules else {}
    for name in dict.fromkeys(re.findall(r"[A-Za-z_]\w*", source)):
        called = names.get(name)
        if inspect.isfunction(called) and called.__module__ == home and called not in (function, *seen):
            found |= _quotes(called, (function, *seen))
    return found


def _rules(jaxpr: Any) -> Iterator[Rule]:
    """The rules that a jaxpr runs, in order."""
    for equation in all_equations(jaxpr):
        call = equation.params.get("call")
        if equation.primitive.name.startswith("fnnet.") and hasattr(call, "rule"):
            yield call.rule


def _source(function: Callable) -> str:
    """A function's code without its docstring; empty where it cannot be read."""
    try:
        source = textwrap.dedent(inspect.getsource(innermost(function)))
        body = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError, IndexError, tokenize.TokenError):
        return ""
    if isinstance(body, ast.FunctionDef) and ast.get_docstring(body) is not None and len(body.body) > 1:
        lines = source.splitlines()
        first, last = body.body[0].lineno, body.body[0].end_lineno or body.body[0].lineno
        source = "\n".join(lines[: first - 1] + lines[last:])
    return source.strip()


def _docstring(function: Any) -> str:
    """A docstring with its equations indented, as a page has them, whatever its own indentation."""
    first, _, rest = (inspect.getdoc(function) or "").partition("\n")
    return f"{first}\n{textwrap.indent(rest, '    ')}"


def _sources(text: str) -> str:
    """The paragraph that begins with "Source"."""
    found = re.search(r"^Sources?: (.*?)(?:\n\n|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    if not found:
        return ""
    words = found[0].split("\nDerivation:")[0]
    return " ".join(words.split())
