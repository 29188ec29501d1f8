"""docs/errata.md names tests that exist, and every mistake that the loops can make."""

import ast
import re
from pathlib import Path

import dense_loops
import image_loops
import pytest
import sigmoid_loops

ROOT = Path(__file__).parents[2]
ERRATA = (ROOT / "docs/errata.md").read_text()
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
    loops = (dense_loops.STEP_1, dense_loops.FIRST, dense_loops.FULL, dense_loops.BATCH)
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
