"""The page of a trace in a browser: every entry and every button answers, wide and narrow, light and dark."""

from pathlib import Path

import pytest

from tracing.browser import CHROMIUM, Browser
from tracing.pages import PAGES, traced

CLICKING = (Path(__file__).parent / "clicking.js").read_text(encoding="utf-8")
LOOKS = {"wide": (1400, False), "narrow, dark": (390, True), "narrow": (390, False), "wide, dark": (1400, True)}
QUICK = ("digit", "wide"), ("attention", "narrow, dark")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")


CASES = [
    pytest.param(name, look, marks=[] if (name, look) in QUICK else [pytest.mark.slow])
    for name in PAGES
    for look in LOOKS
]


@pytest.mark.parametrize(("name", "look"), CASES)
def test_whatever_is_clicked_answers(name, look, tmp_path):
    width, dark = LOOKS[look]
    trace = traced(name)
    with Browser(tmp_path / "profile", width=width, dark=dark) as browser:
        browser.open(trace.save(tmp_path / "trace.html"))
        assert browser.run("document.documentElement.dataset.theme") == ("dark" if dark else "light")
        browser.run(CLICKING + "; 0")
        for number, step in enumerate(trace):
            assert browser.run(f"entriesWithoutAnswer({number}, 150)") == [], step.name
            browser.run(f"show({number})")
            assert browser.run("cutOrNameless()") == [], step.name
            assert browser.run("buttonsWithoutAnswer()") == [], step.name
        assert browser.errors == []


def test_a_large_network_s_commands_name_what_there_is(tmp_path):
    """Each entry that the page refers to Python for is one that `explain` has."""
    trace = traced("large")
    with Browser(tmp_path / "profile") as browser:
        browser.open(trace.save(tmp_path / "trace.html"))
        given = []
        for number in range(len(trace.steps)):
            browser.run(f"show({number})")
            for key in browser.run("[...figures.keys()]"):
                browser.run(f"figures.get('{key}').choose(figures.get('{key}').tensor.shape.map(() => 0))")
                said = browser.run("[...document.querySelectorAll('#numbers pre')].map((node) => node.textContent)")
                given += [tuple(said)] if said else []
    assert len(given) > len(trace.steps)
    for shell, python in set(given):
        explained = eval(python.removeprefix("print(").removesuffix(")"), {"trace": trace})
        name, of = shell.removeprefix("fnnet trace RUN --entry ").split(".")
        assert str(explained).startswith(f"{name}: ")
        assert of.partition("[")[0] in (str(explained).split()[1].partition("[")[0].removesuffix("_bar"))
