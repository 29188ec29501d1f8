"""A line of a rule's page as MathML, which a browser typesets without fonts or scripts from elsewhere.

The pages write equations in a small language: `x_bar_ni` is x with a bar and the indices n i, `sum_o` a sum over o,
`max_t` a maximum, `_(...)` an index in brackets, ^ a power, 1/c_o a fraction; several letters without an index are
a word.
"""

import re
from html import escape

TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<word>[A-Za-z]{2,}(?:-[A-Za-z]{2,})+)
  | (?P<number>\d+(?:\.\d+)?)
  | (?P<name>[A-Za-z]+(?:_bar\b|_bar(?=_))?)
    (?:_(?P<index>\([^()]*\)|[A-Za-z0-9]+(?:[,+\-][A-Za-z0-9]+)*))?(?P<prime>'?)
  | (?P<mark><=|>=|.)
    """,
    re.VERBOSE,
)
GREEK = {name: f"&{name};" for name in "alpha beta gamma delta epsilon mu pi sigma".split()}
FUNCTIONS = frozenset("exp log sqrt tanh max min sigmoid softplus erf cos sin var mean".split())
MARKS = {"<=": "&le;", ">=": "&ge;", "-": "&minus;", "*": "&middot;", "{": "(", "}": ")"}
WORDS = {"times": "&times;"}


def mathml(formula: str) -> str:
    """The formula as one `<math>` element, its text as the page has it in `alttext`."""
    return (
        f'<math display="block" alttext="{escape(formula, quote=True)}"><mrow>{"".join(_nodes(formula))}</mrow></math>'
    )


def _nodes(text: str) -> list[str]:
    nodes: list[str] = []
    opened: list[int] = []  # where the brackets opened, for a power of a bracket
    last_group = 0
    position = 0
    raised = divided = False
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            break
        position = match.end()
        if match["space"]:
            if len(match["space"]) > 1:
                nodes.append('<mspace width="1.5em"/>')
            continue
        mark = match["mark"]
        if mark == "^":
            raised = True
            continue
        if mark == "/" and text[position : position + 1] != " " and nodes and text[match.start() - 1] != " ":
            divided = True
            continue
        if mark in ("(", "{"):
            opened.append(len(nodes))
        node = _mark(mark) if mark else _atom(match)
        if raised or divided:
            begin = last_group if nodes[-1].endswith(">)</mo>") else len(nodes) - 1
            base = "".join(nodes[begin:])
            tag = "msup" if raised else "mfrac"
            nodes[begin:] = [f"<{tag}><mrow>{base}</mrow>{node}</{tag}>"]
            raised = divided = False
            continue
        nodes.append(node)
        if mark in (")", "}") and opened:
            last_group = opened.pop()
    return nodes


def _mark(mark: str) -> str:
    shown = MARKS.get(mark) or escape(mark)
    stretchy = ' stretchy="false"' if mark in "(){}|" else ""
    separator = ' separator="true"' if mark in ",;" else ""
    return f"<mo{stretchy}{separator}>{shown}</mo>"


def _atom(match: re.Match) -> str:
    if match["word"]:
        return f"<mtext>&nbsp;{match['word']}&nbsp;</mtext>"
    if match["number"]:
        return f"<mn>{match['number']}</mn>"
    name, index = match["name"], match["index"]
    if name in ("sum", "max", "min") and index:
        sign = "<mo>&sum;</mo>" if name == "sum" else f"<mi>{name}</mi>"
        return f"<munder>{sign}{_index(index)}</munder>"
    bar = name.endswith("_bar")
    plain = name.removesuffix("_bar")
    if not bar and not index and plain in FUNCTIONS:
        return f"<mi>{plain}</mi>"
    if not bar and not index and len(plain) > 1 and plain not in GREEK:
        return f"<mo>{WORDS[plain]}</mo>" if plain in WORDS else f"<mtext>&nbsp;{plain}&nbsp;</mtext>"
    differential = len(plain) == 2 and plain.startswith("d") and index
    shown = f"<mi>{GREEK.get(plain, plain[1:] if differential else plain)}</mi>"
    if bar:
        shown = f'<mover>{shown}<mo class="bar">&oline;</mo></mover>'
    if index:
        shown = f"<msub>{shown}{_index(index)}</msub>"
    if match["prime"]:
        shown = f"<msup>{shown}<mo>&prime;</mo></msup>"
    return f"<mrow><mi>d</mi>{shown}</mrow>" if differential else shown


def _index(index: str) -> str:
    """The letters of an index, each by itself."""
    inner = index[1:-1] if index.startswith("(") else index
    parts = []
    for sign in inner:
        if sign.isdigit():
            parts.append(f"<mn>{sign}</mn>")
        elif sign.isalpha():
            parts.append(f"<mi>{sign}</mi>")
        elif not sign.isspace():
            parts.append(f"<mo>{MARKS.get(sign) or escape(sign)}</mo>")
    return f"<mrow>{''.join(parts)}</mrow>"
