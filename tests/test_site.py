"""The site of the documentation, as far as it can be tested without Sphinx; the build itself is the README's line."""

import re
from pathlib import Path

import hosted_notebooks
import live_traces
import public_names
import pytest
import rule_lists
from public_names import NAMESPACES, members, undescribed

import fnnet
from fnnet.proofs import own

ROOT = Path(__file__).parents[1]
NAMES = [name for namespace in NAMESPACES for name in public_names.public_names(namespace)]
API = "\n".join(page.read_text() for page in (ROOT / "docs/api").glob("*.md"))
API = API.replace(".. rules::", "\n".join(rule_lists.reference()))
SHOWN = set(re.findall(r"^\.\. auto\w+:: (\S+)$", API, flags=re.MULTILINE))


def test_every_public_name_is_described():
    assert len(NAMES) > 40
    assert undescribed(SHOWN, NAMES) == []


def test_every_rule_has_a_proof(monkeypatch):
    assert rule_lists.unproved() == []
    assert all(getattr(fnnet, name) is proof.function for name, proof in own().items())
    monkeypatch.delitem(own(), "tanh")
    assert rule_lists.unproved() == ["tanh"]


def test_every_derivation_is_listed():
    pages = {page.stem for page in (ROOT / "docs/derivations").glob("*.md")} - {"index"}
    assert pages == set(re.findall(r":doc:`/derivations/(\w+)`", "\n".join(rule_lists.derivations())))


def test_a_name_on_no_page_is_seen():
    assert undescribed(SHOWN - {"fnnet.conv"}, NAMES) == ["fnnet.conv is public and on no page of docs/api"]


def test_a_missing_docstring_is_seen(monkeypatch):
    monkeypatch.setattr(fnnet.check, "__doc__", None)
    assert undescribed(SHOWN, ["fnnet.check"]) == ["fnnet.check is public and has no docstring"]


def test_members_of_a_class_count():
    assert {"parameters", "apply", "entries"} <= set(members(fnnet.Dense))


def test_nothing_is_shown_that_is_not_public():
    assert set(NAMES) >= SHOWN


def test_notebooks_link_to_a_hosted_service_once_the_repository_is_public():
    page = "notebooks/backpropagation"
    alone = hosted_notebooks.links(page, "", "backpropagation.ipynb")
    assert re.findall('href="([^"]*)"', alone) == ["backpropagation.ipynb"]
    linked = hosted_notebooks.links(page, "owner/name", "backpropagation.ipynb")
    hosted = "https://colab.research.google.com/github/owner/name/blob/main/docs/notebooks/backpropagation.ipynb"
    assert re.findall('href="([^"]*)"', linked) == ["backpropagation.ipynb", hosted]


@pytest.mark.parametrize("doc", live_traces.DOCS)
def test_each_picture_of_a_trace_opens_a_page_that_the_document_writes(doc):
    text = (ROOT / "docs" / f"{doc}.md").read_text()
    pictures = set(re.findall(r"\]\(pictures/trace_(\w+)\.png\)", text))
    assert pictures
    assert pictures == set(re.findall(r'^\w+\.save\("(\w+)\.html"', text, re.MULTILINE))
    image = '<img alt="The page" src="_images/trace_{}.png" />'
    linked = live_traces.linked("".join(f"<p>{image.format(name)}</p>" for name in pictures) + image.format("x/other"))
    assert set(re.findall(r'<a href="traces/(\w+)\.html"><img', linked)) == pictures


def test_the_pages_of_traces_are_written(tmp_path, capsys):
    doc = tmp_path / "doc.md"
    doc.write_text("A page.\n```python\nprint(1)\nopen('one.html', 'w').close()\n```\n```text\n1\n```\n")
    live_traces.write(doc, tmp_path / "traces")
    assert (tmp_path / "traces" / "one.html").exists()
    assert capsys.readouterr().out == ""


def test_versions_agree():
    for page in ("CITATION.cff", "docs/citing.md"):
        assert re.search(rf"\bversion\b\s*[:=]\s*{{?{re.escape(fnnet.__version__)}\b", (ROOT / page).read_text())
