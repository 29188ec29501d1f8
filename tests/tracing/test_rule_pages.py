"""The equations of rules as data: every page keeps to the form that docs/rules.md documents."""

import importlib
import inspect
import re
import xml.etree.ElementTree as ElementTree
from html import unescape
from pathlib import Path

import pytest

import fnnet
from fnnet.core.registration import Rule
from fnnet.tracing.page.mathml import GREEK, WORDS, mathml
from fnnet.tracing.rule_pages import EQUATION, equations_of, page_of

FOLDER = Path(fnnet.__file__).parent / "rules"
SHARED = ("__init__", "labels", "sequences")  # by several pages: without equations of their own
PAGES = sorted(file.stem for file in FOLDER.glob("*.py") if file.stem not in SHARED)


def module_of(page):
    return importlib.import_module(f"fnnet.rules.{page}")


def faults(page: str, code: str) -> list[str]:
    """Where a page breaks the form: the line, and what is wrong with it."""
    found, numbers = [], []
    for row, line in enumerate(page.splitlines(), 1):
        match = EQUATION.match(line)
        if match is None:
            found += [f"line {row} is no equation: {line}"] * line.startswith("    ")
            continue
        formula, number = match["formula"], match["number"]
        found += [f"line {row} has no equals sign: {formula}"] * ("=" not in formula)
        found += [f"line {row} has unequal brackets: {formula}"] * (formula.count("(") != formula.count(")"))
        found += [f"line {row} has number {number} again"] * (number in numbers)
        numbers.append(number)
    quoted = {number for comment in re.findall(r"# ([^\n]*)", code) for number in re.findall(r"\((\d+)\)", comment)}
    return found + [f"the code quotes ({number}), which the page lacks" for number in sorted(quoted - set(numbers))]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_keeps_to_the_form(page):
    module = module_of(page)
    text = inspect.getdoc(module)
    assert faults(text, inspect.getsource(module).replace(text, "")) == []


@pytest.mark.parametrize("page", PAGES)
def test_the_code_finds_its_equations(page):
    rules = [value for value in vars(module_of(page)).values() if isinstance(value, Rule)]
    assert rules
    for rule in rules:
        shown = page_of(rule)
        with_code = {equation.side for equation in shown.equations if equation.code}
        assert with_code >= {"forward", "backward"}, f"{rule.name}: {shown.equations}"


def test_lines_of_the_functions_that_a_rule_calls():
    """The backward quotes (4) to (8), and calls a function whose lines are these equations."""
    from fnnet.rules.attention import _attention

    shown = {equation.number: equation.code for equation in page_of(_attention).equations}
    assert sorted(shown) == list(range(1, 11))
    assert shown[5] == ("s_bar = p * (p_bar - (p * p_bar).sum(-1, keepdims=True))",)
    assert shown[7] == ('k_bar = scale * jnp.einsum("...hij,...ihd->...jhd", u_bar, q_wide)',)


@pytest.mark.parametrize("page", PAGES)
def test_the_equations_are_typeset(page):
    for equation in equations_of(inspect.getdoc(module_of(page))):
        shown = mathml(equation.formula)
        text = re.sub(r"&(?!lt;|gt;|amp;|quot;|#)\w+;", lambda entity: unescape(entity[0]), shown)
        ElementTree.fromstring(text)  # well-formed
        words = "|".join(("sum", *GREEK, *WORDS))
        letters = set(re.sub(r"_bar|[^A-Za-z]", "", re.sub(rf"\b({words})(?=_|\b)", "", equation.formula)))
        assert letters <= set(re.sub(r"<[^>]*>", "", text)), equation.formula


RIGHT = """A page.

one
    forward   y_n   = sum_i x_ni,  all of them   (1)   a remark
    backward  x_bar = y_bar                      (2)
              w_bar = 2 y_bar                    (3)
    out of range  y = 0  (40)
"""


def test_the_form():
    shown = [(e.number, e.side, e.formula, e.remark) for e in equations_of(RIGHT)]
    assert shown == [
        (1, "forward", "y_n = sum_i x_ni,   all of them", "a remark"),
        (2, "backward", "x_bar = y_bar", ""),
        (3, "backward", "w_bar = 2 y_bar", ""),
        (40, "out of range", "y = 0", ""),
    ]
    assert faults(RIGHT, "return y  # (1), (40)") == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("y_bar                      (2)", "y_bar (2)", "line 5 is no equation"),
        ("(3)", "", "line 6 is no equation"),
        ("(3)", "(2)", "line 6 has number 2 again"),
        ("x_bar = y_bar", "x_bar   y_bar", "line 5 has no equals sign"),
        ("2 y_bar  ", "2 (y_bar  ", "line 6 has unequal brackets"),
        ("(40)", "(4)", "the code quotes (40)"),
    ],
)
def test_a_break_of_the_form_is_told(before, after, told):
    assert before in RIGHT
    (fault,) = faults(RIGHT.replace(before, after), "return y  # (1), (40)" if "40" in told + before else "")
    assert told in fault


def cubed_fwd(x):
    """Cube, entry by entry.

    forward   y     = x^3            (1)
    backward  x_bar = 3 x^2 y_bar    (2)   keeps x
    """
    return x**3, x  # (1)


def cubed_bwd(x, y_bar):
    return (3 * x**2 * y_bar,)  # (2); x is kept anyway, by the layer before


def test_the_equations_of_a_rule_of_your_own():
    page = page_of(fnnet.rule(cubed_fwd, cubed_bwd, batched=("x",)))
    shown = [(e.number, e.side, e.formula, e.code) for e in page.equations]
    assert shown == [
        (1, "forward", "y = x^3", ("return x**3, x",)),
        (2, "backward", "x_bar = 3 x^2 y_bar", ("return (3 * x**2 * y_bar,)",)),
    ]
    documented = (Path(__file__).parents[2] / "docs/rules.md").read_text(encoding="utf-8")
    assert inspect.getsource(cubed_fwd) in documented
    assert inspect.getsource(cubed_bwd) in documented
