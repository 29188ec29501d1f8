"""The numbered equations of a rule, read from the rule's own page: the docstring at the head of its module.

A page may hold several rules. Which of its equations are a rule's own, the rule's code says: each line of a forward or
backward quotes the number of the equation that it is, and that line is shown beside the equation.
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

from fnnet.core.partials import innermost
from fnnet.core.registration import Rule
from fnnet.layers.protocol import Function, function_name

NUMBERED = re.compile(r"^(?P<formula>.*?\S)\s+\((?P<number>\d+)\)(?:\s{2,}(?P<remark>.*))?$")
LABEL = re.compile(r"^(forward|backward|index|Jacobian|approximate|[a-z_]+)(\s{2,}|$)")
QUOTED = re.compile(r"#.*?(\(\d+\)(?:\s*(?:,|and)\s*\(\d+\))*)")


@dataclass(frozen=True)
class Equation:
    """One numbered equation of a page.

    Args:
        number: As the page numbers it.
        side: "forward", "backward", or another word that the page has in front of it.
        formula: As the page writes it.
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
    return tuple(found.values()) or pages_of_words(layer)


def pages_of_words(layer: Any) -> tuple[Page, ...]:
    """What a layer without a rule says of itself: its docstring, or its code."""
    return (_of_code(layer),)


@functools.lru_cache(maxsize=256)
def page_of(rule: Rule) -> Page:
    """The page of one rule."""
    module = sys.modules.get(getattr(rule.forward, "__module__", ""), None)
    text = inspect.getdoc(module) or "" if module else ""
    forward, backward = _source(rule.forward), _source(rule.backward)
    quotes = _quotes(forward), _quotes(backward)
    numbered = list(equations_of(text, rule.name))
    own = [e for e in numbered if any(e.number == number for number, _ in (*quotes[0], *quotes[1]))]
    if not own:  # a rule of the reader's, perhaps with a docstring of its own
        text = _docstring(rule.forward) if rule.forward.__doc__ else text
        own = list(equations_of(text, rule.name))
    with_code = tuple(Equation(e.number, e.side, e.formula, e.remark, _lines(e, *quotes)) for e in own)
    title = text.strip().splitlines()[0] if text.strip() else rule.name
    return Page(rule.name, title, with_code, _sources(text), forward, backward)


def _lines(equation: Equation, forward: list[tuple[int, str]], backward: list[tuple[int, str]]) -> tuple[str, ...]:
    """The lines of code that are this equation: of the backward for one that goes back, else of the forward if any."""
    first, second = ([line for n, line in quotes if n == equation.number] for quotes in (forward, backward))
    return tuple(second if equation.side == "backward" else first or second)


def equations_of(text: str, rule: str) -> Iterator[Equation]:
    """The numbered lines of a page; in a table of rules, the line of this rule alone."""
    rows = [row for row in _rows(text) if row[0]]
    table = _table(text, rule)
    if table is not None:
        yield from table
        return
    side = ""
    for row, _ in rows:
        label = LABEL.match(row)
        if label and label[1] in ("forward", "backward", "index", "Jacobian"):
            side, row = label[1], row[label.end() :].strip()
        for formula, number, remark in _numbered(row):
            yield Equation(number, side, formula, remark)


def _numbered(row: str) -> Iterator[tuple[str, int, str]]:
    """The equations of a line: mostly one, its number behind it, then a remark."""
    match = NUMBERED.match(row)
    if match:
        formula = re.sub(r"\s{2,}", "   ", re.sub(r"\s+=", " =", match["formula"])).strip()
        yield formula, int(match["number"]), (match["remark"] or "").strip()


def _rows(text: str) -> Iterator[tuple[str, int]]:
    """The indented lines of a page, without their indentation; and that."""
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if indent >= 4:
            yield line.strip(), indent


def _table(text: str, rule: str) -> list[Equation] | None:
    """The rule's line in a table with the columns forward, backward and kept; None where the page has no table."""
    lines = text.splitlines()
    head = next((line for line in lines if re.search(r"\bforward\b.*\bbackward: ", line)), None)
    if head is None:
        return None
    left, right = head.index("forward"), head.index("backward: ")
    factor = head[right:].removeprefix("backward: ").split("  ")[0].strip()
    found: list[Equation] = []
    reading = False
    for line in lines[lines.index(head) + 1 :]:
        name = line[:left].strip()
        if not line.strip():
            break
        if name:
            reading = name == rule or (reading and line.startswith(" " * 6))
        if not reading:
            continue
        if not NUMBERED.match(line.strip()):
            if found:  # a definition that goes on
                found.append(Equation(found[-1].number, "where", re.split(r";", line)[0].strip(), ""))
            continue
        forward, backward = line[left:right].strip(), line[right:]
        match = NUMBERED.match(backward.strip())
        if match:
            number = int(match["number"])
            found.append(Equation(number, "forward", re.sub(r"\s{2,}", "   ", forward), ""))
            found.append(Equation(number, "backward", f"{factor} {{{match['formula'].strip()}}}", ""))
    return found


def _quotes(source: str) -> list[tuple[int, str]]:
    """The equation numbers that lines of code quote, each with its line."""
    found = []
    for line in source.splitlines():
        match = QUOTED.search(line)
        if match:
            code = line.split("  #")[0].strip()
            found += [(int(number), code) for number in re.findall(r"\d+", match[1])]
    return found


def _rules(jaxpr: Any) -> Iterator[Rule]:
    """The rules that a jaxpr runs, in order."""
    for equation in jaxpr.eqns:
        call = equation.params.get("call")
        if equation.primitive.name.startswith("fnnet.") and hasattr(call, "rule"):
            yield call.rule
            continue
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _rules(inner)


def _of_code(layer: Any) -> Page:
    function = innermost(layer.function if isinstance(layer, Function) else layer)
    name, text = function_name(function), inspect.getdoc(function) or ""
    # Of a wrapper, inspect would give the code of what it wraps, which need not be what it computes.
    code = _source(function) if inspect.isfunction(function) and not hasattr(function, "__wrapped__") else ""
    first = text.split("\n\n")[0].replace("\n", " ")
    return Page(name, first, tuple(equations_of(_docstring(function), name)), "", code, "")


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
