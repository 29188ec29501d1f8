"""The README's and the docs' Python blocks run as they stand; those marked as another library's, in tests/external."""

import re
import shlex
from pathlib import Path

import jax
import pytest

from fnnet.checking.catalogue import NAMES
from fnnet.cli import command

ROOT = Path(__file__).parents[1]
REPORTS = ("README.md", "checking.md", "interop.md", "tutorial.md", "trace.md", "backpropagation.md")
NOT_PRINTED = {
    "architecture.md": "a drawing",
    "errata.md": "pseudo-code",
    "scale.md": "tests/costs/test_scale.py",
}
WIDEST = 120  # characters of a line of code that the site shows on a screen of 1300 pixels without scrolling
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LONG = (
    *("trace.md", "checking.md", "tutorial.md", "losses.md", "published_rules.md", "per_example.md", "rules.md"),
    *("training.md", "linear_class_loss.md", "devices.md", "backpropagation.md"),
)


def blocks(page, info="python"):
    return re.findall(rf"^```{info}\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def with_examples():
    marks = {name: [pytest.mark.slow] for name in LONG}
    return [pytest.param(page, id=page.name, marks=marks.get(page.name, [])) for page in PAGES if blocks(page)]


@pytest.mark.parametrize("page", with_examples())
def test_examples_run(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may write a file
    names = {"__name__": "example"}
    with jax.numpy_dtype_promotion("standard"):
        for block in blocks(page):
            if "fnnet.rule(forward, backward" not in block:  # the bare signature
                exec(compile(block, str(page), "exec"), names)
    printed = capsys.readouterr().out
    if page.name == "README.md":
        accuracy = float(re.search(r"'accuracy': ([0-9.]+)", printed)[1])
        assert accuracy >= 0.975
    if page.name in REPORTS:  # what they show is what is printed, up to times and rounding
        shown = [line for block in blocks(page, "text") for line in block.splitlines()]
        assert [line for line in shown if without_digits(line) not in without_digits(printed).splitlines()] == []


def without_digits(text):
    """With # for each number, and one space where a table is padded: a number's length changes with its rounding."""
    return re.sub(r" +", " ", re.sub(r"-?\d+(\.\d+)?(e[+-]\d+)?", "#", text))


def test_code_fits_on_the_screen():
    wide = [
        (page.name, line)
        for page in PAGES
        if page.parent != ROOT
        for info, code in re.findall(r"^```(.*)\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        if not info.startswith(("{", "text"))  # what is printed wraps
        for line in code.splitlines()
        if len(line) > WIDEST
    ]
    assert wide == []


def commands():
    """Each command line of fnnet's in a shell block, and its page."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                starts = [n + 1 for n, word in enumerate(words) if word == "fnnet" or word.endswith("/fnnet")]
                yield from (
                    pytest.param(words[start:], id=f"{page.stem}: {line.split('#')[0].strip()}") for start in starts
                )


@pytest.mark.parametrize("words", list(commands()))
def test_commands_are_understood(words):
    arguments, unknown = command._parser().parse_known_args(words)
    assert unknown == []
    assert arguments.command


def test_every_output_that_is_shown_is_compared():
    shown = {page.name for page in PAGES if blocks(page, "text")}
    assert shown == {*REPORTS, *NOT_PRINTED}


def test_every_check_stands_in_the_table():
    table = (ROOT / "docs" / "checking.md").read_text()
    assert [letter for letter, name in NAMES.items() if f"| {letter} | {name} |" not in table] == []


def test_scripts_that_are_named_exist():
    for page in [*PAGES, *(ROOT / "experiments").rglob("README.md")]:
        for name in re.findall(r"(?:python (?=docs/)|(?:python |`)(?=experiments/))([\w./]+)", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_links_lead_somewhere():
    for page in PAGES:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)\)", prose):
            if not target.startswith(("http:", "https:")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
