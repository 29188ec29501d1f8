"""The pictures of docs/trace.md and docs/backpropagation.md, taken in a real browser of the pages that they write.

    FNNET_PICTURES=docs/pictures python -m pytest -m slow tests/tracing/test_trace_pictures.py

takes them anew; without the variable they are only compared with the docs' in size.
"""

import json
import os
import re
from pathlib import Path

import jax
import pytest
from PIL import Image

from tracing.browser import CHROMIUM, Browser

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
WIDTH = 1100
MOST = 150_000  # bytes
CLOSED = "document.getElementById('equations-part').open = false"
# For each page: the address at which its picture is taken, code that is run then, and the picture's height.
SHOTS = {
    "backpropagation.md": {
        "neuron": ("backward=dense_0&entry=kernel_bar[2,0]", "", 1300),
        "sigmoids": ("backward=dense_0&entry=kernel_bar[0,1]", CLOSED, 1000),
        "digit": ("backward=conv_0&entry=kernel_bar[0,0,0,1]", CLOSED, 1000),
        "head": ("backward=attention_0&entry=query_kernel_bar[3,0]", CLOSED, 1200),
    },
    "trace.md": {"broken": ("", "", 980)},
}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")
@pytest.mark.parametrize("page", SHOTS)
def test_the_docs_show_these_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / page).read_text()
    names = {"__name__": "example"}
    with jax.numpy_dtype_promotion("standard"):
        for block in re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            exec(compile(block, page, "exec"), names)
    target = ROOT / os.environ["FNNET_PICTURES"] if "FNNET_PICTURES" in os.environ else tmp_path
    assert set(re.findall(r"\]\(pictures/trace_(\w+)\.png\)", text)) == set(SHOTS[page])
    for name, (address, code, height) in SHOTS[page].items():
        file = target / f"trace_{name}.png"
        with Browser(tmp_path / f"profile-{name}", width=WIDTH, height=height) as browser:
            browser.open(tmp_path / f"{name}.html")
            if name == "broken":  # it opens at the layer with the problem
                assert browser.run("document.getElementById('layer-name').textContent") == "relu_4"
            if address:
                browser.run(f"location.hash = {json.dumps(address)}")
                browser.run("new Promise(requestAnimationFrame)")
                assert browser.run("document.getElementById('chain-text').textContent")
            browser.run(code)
            browser.run("scrollTo(0, 0)")
            browser.picture(file, {"x": 0, "y": 0, "width": WIDTH, "height": height})
            assert browser.errors == []
        with Image.open(file) as picture:
            size = picture.size
            picture.convert("RGB").quantize(256).save(file, optimize=True)
        with Image.open(PICTURES / file.name) as shown:
            assert shown.size == size
        assert (PICTURES / file.name).stat().st_size < MOST
