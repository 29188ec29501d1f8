"""Docstrings are plain text with `code`: made reStructuredText here, before napoleon reads their sections.

What reStructuredText would take for markup (`*image`, `|a - b|`, `x_`) is escaped; `fnnet.conv` and `conv` become
links where they are public names, and docs/rules.md a link to that page.
"""

import re

from public_names import NAMESPACES, public_names

LINKS = {name.removeprefix(f"{space}."): name for space in reversed(NAMESPACES) for name in public_names(space)}
LINKS |= {f"fnnet.{name}": full for name, full in LINKS.items()} | {name: name for name in LINKS.values()}


def to_rst(lines: list[str]) -> list[str]:
    """The same text, line by line; examples at a prompt stay as they are."""
    result, at_prompt = [], False
    for line in lines:
        at_prompt = line.lstrip().startswith(">>>") or (at_prompt and line.strip() != "")
        result.append(line if at_prompt else escaped(line))
    return result


def escaped(line: str) -> str:
    """A line of text."""
    parts = re.split(r"(`[^`]+`)", line)
    return "".join(code(part[1:-1]) if number % 2 else text(part) for number, part in enumerate(parts))


def code(content: str) -> str:
    """`content`, a link if it is a public name."""
    name = content.partition("(")[0]
    return f":py:obj:`{content} <{LINKS[name]}>`" if name in LINKS else f"``{content}``"


def text(part: str) -> str:
    """What stands outside of backticks."""
    part = re.sub(r"([*|\\])", r"\\\1", part)
    part = re.sub(r"_(?!\w)", r"\\_", part)
    return re.sub(r"\bdocs/([\w/]+)\.md\b", r":doc:`/\1`", part)


def on_docstring(app, what, name, thing, options, lines):
    """What autodoc asks for each docstring."""
    lines[:] = to_rst(lines)


def setup(app):
    """Come before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", on_docstring, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
