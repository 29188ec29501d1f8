"""The pages on the sources: what they name exists, what they quote stands there, and nothing is left out."""

import ast
import re
import textwrap
from pathlib import Path

import dense_loops
import image_loops
import pytest
import rule_lists
import sigmoid_loops

ROOT = Path(__file__).parents[2]
ERRATA = (ROOT / "docs/errata.md").read_text()
EQUATIONS = (ROOT / "docs/equations.md").read_text()
NAME = r"[a-zA-Z0-9_-]+"


def names_of_tests(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def missing(reference: str) -> str:
    """Why a reference file::test or file::test[id] leads nowhere, or nothing."""
    file, _, test = reference.partition("::")
    name, _, identifier = test.partition("[")
    if not (ROOT / file).is_file():
        return f"{file} does not exist"
    if not name.startswith("test_") or name not in names_of_tests(ROOT / file):
        return f"{file} has no test {name}"
    if identifier and f'"{identifier.removesuffix("]")}"' not in (ROOT / file).read_text():
        return f"{file}: {name} has no case {identifier}"
    return ""


def references(text: str) -> list[str]:
    return re.findall(r"`(tests/[^`]*?::[^`]*)`", text)


def entries(page: str) -> dict[str, str]:
    """Each mistake of the errata, by its name: its section."""
    parts = re.split(rf"^### .*\(`({NAME})`\)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_mistake_has_a_test():
    found = entries(ERRATA)
    assert len(found) == ERRATA.count("\n### ")
    for name, section in found.items():
        (reference,) = re.findall(r"^Test: `([^`]*)`$", section, flags=re.MULTILINE)
        assert missing(reference) == "", name


def test_every_reference_leads_to_a_test():
    assert [problem for reference in references(ERRATA) if (problem := missing(reference))] == []


def test_every_printed_line_is_explained():
    loops = (dense_loops.STEP_1, dense_loops.FIRST, dense_loops.FULL, dense_loops.BATCH, dense_loops.COMMENTS)
    names = {name for group in (*loops, image_loops.CONVOLUTION, image_loops.POOLING) for name in group}
    assert names | set(sigmoid_loops.RECURSION) <= set(entries(ERRATA))
    at_a_glance = ERRATA[ERRATA.index("at a glance") : ERRATA.index("## 000 and 001, softmax")]
    assert set(re.findall(rf"`({NAME})`", at_a_glance)) <= set(entries(ERRATA))


@pytest.mark.parametrize(
    "reference",
    [
        "tests/sources/test_nowhere.py::test_pages",
        "tests/sources/test_pages.py::test_nothing",
        "tests/sources/test_pages.py::missing",
        "tests/sources/test_errata_dense.py::test_mini_batch[nothing]",
    ],
)
def test_a_false_reference_is_seen(reference):
    assert missing(reference) != ""


# docs/equations.md.


def rows(page: str) -> list[tuple[str, ...]]:
    """where, what, verdict, places in fnnet, tests."""
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| where")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def missing_in_fnnet(place: str) -> str:
    """Why "file.py (1) (2)" or "file.py Name" leads nowhere, or nothing."""
    name, *what = place.split()
    file = ROOT / "fnnet" / name
    if not file.is_file():
        return f"fnnet/{name} does not exist"
    tree = ast.parse(file.read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    head = ast.get_docstring(tree) or ""
    absent = [one for one in what if one not in defined and not (one.startswith("(") and one in head)]
    return f"fnnet/{name} has no {absent}" if absent or not what else ""


ROWS = rows(EQUATIONS)


def test_every_row_is_whole():
    for row in ROWS:
        _, _, verdict, places, tests = row
        assert re.match(r"(right|convention|misprint|wrong)\b", verdict), row
        for reference in re.findall(r"`([^`]*)`", tests):
            assert missing(f"tests/sources/{reference}") == "", row
        assert "::test_" in tests, row
        assert places == "—" or "`" in places, row
        for place in re.findall(r"`([^`]*)`", places):
            assert missing_in_fnnet(place) == "", row


def test_every_verdict_has_its_entry():
    named = set()
    for where, _, verdict, _, tests in ROWS:
        names = re.findall(r"`([^`]*)`", verdict)
        assert bool(names) or not re.search("misprint|wrong", verdict), where
        assert set(names) <= set(entries(ERRATA)), where
        assert "convention" not in verdict or re.search("test_conventions|test_equations_sigmoid", tests), where
        if re.search("misprint|wrong", verdict):
            assert "test_errata" in tests, where
        named |= set(names)
    assert set(entries(ERRATA)) == named


@pytest.mark.parametrize(
    ("heading", "numbers"), [("## 000", 5), ("## 001", 19), ("## 003", 30)], ids=["000", "001", "003"]
)
def test_every_number_has_a_row(heading, numbers):
    sections = [part for part in re.split(r"^(?=## )", EQUATIONS, flags=re.MULTILINE) if part.startswith(heading)]
    found = {int(n) for where, *_ in rows("".join(sections)) for n in re.findall(r"^\((\d+)\)", where)}
    assert found == set(range(1, numbers + 1))


@pytest.mark.parametrize(
    "place", ["rules/nothing.py (1)", "rules/dense.py (9)", "layers/dense.py Nothing", "layers.py"]
)
def test_a_false_place_is_seen(place):
    assert missing_in_fnnet(place) != ""


# docs/derivations.

DERIVATIONS = sorted((ROOT / "docs/derivations").glob("*.md"))


def quotations(page: str) -> list[tuple[str, str]]:
    """The blocks ```python FILE: the file, and the lines said to stand there."""
    return re.findall(r"^```python (\S+)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


def stands_in(quoted: str, text: str) -> bool:
    """Whether the lines stand one after the other in the text, all further in or out by the same amount."""
    wanted = textwrap.dedent(quoted).splitlines()
    lines = text.splitlines()
    windows = (lines[start : start + len(wanted)] for start in range(len(lines)))
    return any(textwrap.dedent("\n".join(window)).splitlines() == wanted for window in windows)


@pytest.mark.parametrize("page", DERIVATIONS, ids=lambda page: page.stem)
def test_quoted_lines_are_the_files_own(page):
    found = quotations(page.read_text())
    assert page.stem == "index" or found
    for file, quoted in found:
        assert stands_in(quoted, (ROOT / file).read_text()), f"{page.name}: {file} has no\n{quoted}"


def test_an_altered_quotation_is_seen():
    text = "def f(x):\n    y = x + 1\n    return y\n"
    assert stands_in("y = x + 1\nreturn y\n", text)
    assert not stands_in("y = x + 2\nreturn y\n", text)
    assert not stands_in("def f(x):\n    return y\n", text)


def test_every_rule_has_a_page():
    for module in rule_lists.pages():
        page = ROOT / f"docs/derivations/{rule_lists.derivation_of(module)}.md"
        assert f"fnnet/rules/{module}.py" in {quoted for quoted, _ in quotations(page.read_text())}
