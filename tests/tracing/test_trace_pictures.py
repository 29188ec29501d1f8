"""The pictures of docs/trace.md and docs/backpropagation.md, taken in a real browser of the pages that they write.

    FNNET_PICTURES=docs/pictures python -m pytest -m slow tests/tracing/test_trace_pictures.py

takes them anew; without the variable they are only compared with the docs' in size. What docs/backpropagation.md says
of changed numbers happens on its pages.
"""

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import jax
import pytest
from PIL import Image

from tracing.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
]

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = DOCS / "pictures"
MOST = 150_000  # bytes


class Shot(NamedTuple):
    """Where a page stands when its picture is taken, the picture's height, and code that is run before."""

    address: str
    height: int
    code: str = ""


WIDTH = 1400
SHOTS = {
    "backpropagation.md": {
        "neuron": Shot("backward=dense_0&entry=kernel_bar[2,0]", 1020),
        "sigmoids": Shot("backward=dense_0&entry=kernel[0,1]", 1000, "document.getElementById('follow').click()"),
        "digit": Shot("backward=conv_0&entry=kernel_bar[0,0,0,1]", 1150),
        "head": Shot("backward=attention_0&entry=weights[0,3,1]", 1400),
    },
    "trace.md": {"broken": Shot("", 1000)},
}


@pytest.fixture(scope="module", params=SHOTS)
def written(request, tmp_path_factory):
    """A document's name, and the folder of the pages that its examples write."""
    folder = tmp_path_factory.mktemp("pages")
    names = {"__name__": "example"}
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.chdir(folder)
        for block in re.findall(
            r"^```python\n(.*?)^```$", (DOCS / request.param).read_text(), re.MULTILINE | re.DOTALL
        ):
            exec(compile(block, request.param, "exec"), names)
    return request.param, folder


def opened(browser, file, address):
    """A page at an address, on which an entry may be chosen."""
    browser.open(file)
    browser.run(f"location.hash = {json.dumps(address)}")
    browser.run("new Promise(requestAnimationFrame)")


def text(browser, name):
    return browser.run(f"document.getElementById({name!r}).textContent")


def test_the_docs_show_these_pages(written, tmp_path):
    document, folder = written
    target = DOCS.parent / os.environ["FNNET_PICTURES"] if "FNNET_PICTURES" in os.environ else tmp_path
    shots = SHOTS[document]
    assert set(re.findall(r"\]\(pictures/trace_(\w+)\.png\)", (DOCS / document).read_text())) == set(shots)
    for name, shot in shots.items():
        file = target / f"trace_{name}.png"
        with Browser(tmp_path / f"profile-{name}", width=WIDTH, height=shot.height) as browser:
            opened(browser, folder / f"{name}.html", shot.address)
            if name == "broken":  # it opens at the layer with the problem
                assert text(browser, "layer-name") == "relu_4"
            else:
                assert text(browser, "chain-text")
            browser.run(shot.code)
            browser.run("scrollTo(0, 0)")
            browser.picture(file, {"x": 0, "y": 0, "width": WIDTH, "height": shot.height})
            assert browser.errors == []
        with Image.open(file) as picture:
            size = picture.size
            picture.convert("RGB").quantize(256).save(file, optimize=True)
        with Image.open(PICTURES / file.name) as shown:
            assert shown.size == size
        assert (PICTURES / file.name).stat().st_size < MOST


@pytest.mark.parametrize("written", ["backpropagation.md"], indirect=True)
def test_what_the_docs_say_of_changes_happens(written, tmp_path):
    _, folder = written

    def change(browser, number):
        browser.run("document.getElementById('change-number').select()")
        browser.send("Input.insertText", text=str(number))
        browser.press("Tab")

    with Browser(tmp_path / "profile") as browser:
        opened(browser, folder / "neuron.html", "backward=dense_0&entry=kernel_bar[2,0]")
        browser.click("#take-step")
        assert text(browser, "losses") == "Loss 6 before, 5.985 after."
        browser.click("#undo")
        browser.run("document.getElementById('rate').select()")
        browser.send("Input.insertText", text="0.1")
        browser.press("Tab")
        browser.click("#take-step")
        assert text(browser, "losses") == "Loss 6 before, 4.5 after."
        opened(browser, folder / "neuron.html", "backward=dense_0&entry=bias[0]")
        change(browser, -10)
        assert "With your changes it is 0." in text(browser, "summary")
        browser.run("location.hash = 'backward=dense_0&entry=kernel_bar[2,0]'")
        assert text(browser, "chain-text").endswith("kernel_bar[2, 0] = 0")
        opened(browser, folder / "sigmoids.html", "backward=dense_0&entry=bias[1]")
        change(browser, 10)
        browser.run("location.hash = 'backward=dense_0&entry=kernel_bar[0,1]'")
        browser.run("new Promise(requestAnimationFrame)")
        assert "kernel_bar[0, 1] = 0.00001342" in text(browser, "chain-text")
        opened(browser, folder / "digit.html", "backward=conv_0&entry=kernel_bar[0,0,0,1]")
        browser.click("#take-step")
        assert text(browser, "losses") == "Loss 1.656 before, 0.01567 after."
        browser.click('[data-layer="loss"]')
        assert "class 3: 98.4 %, label, answer" in browser.run("document.querySelector('[data-class=\"3\"]').ariaLabel")
        assert browser.errors == []
