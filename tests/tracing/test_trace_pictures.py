"""The pictures of docs/trace.md, taken in a real browser of the pages that its examples write.

    FNNET_PICTURES=docs/pictures python -m pytest -m slow tests/tracing/test_trace_pictures.py

takes them anew; without the variable they are only compared with the docs' in size.
"""

import os
import re
from pathlib import Path

import jax
import pytest
from PIL import Image

from tracing.browser import CHROMIUM, Browser

ROOT = Path(__file__).parents[2]
SHOTS = {"neuron": ("dense_0", 1990), "digit": ("conv_0", 2300), "broken": ("relu_4", 980)}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")
def test_the_docs_show_these_pages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "trace.md").read_text()
    names = {"__name__": "example"}
    with jax.numpy_dtype_promotion("standard"):
        for block in re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            exec(compile(block, "trace.md", "exec"), names)
    pictures = ROOT / "docs" / "pictures"
    target = Path(os.environ["FNNET_PICTURES"]) if "FNNET_PICTURES" in os.environ else tmp_path
    target = ROOT / target
    for name, (layer, height) in SHOTS.items():
        with Browser(tmp_path / f"profile-{name}", width=1100, height=height) as browser:
            browser.open(tmp_path / f"{name}.html")
            if name == "broken":  # it opens at the layer with the problem
                assert browser.run("document.getElementById('layer-name').textContent") == layer
            browser.click(f'[data-layer="{layer}"]')
            browser.run("scrollTo(0, 0)")
            file = target / f"trace_{name}.png"
            browser.picture(file, {"x": 0, "y": 0, "width": 1100, "height": height})
            assert browser.errors == []
        with Image.open(file) as picture:
            size = picture.size
            picture.convert("RGB").quantize(128).save(file, optimize=True)
        with Image.open(pictures / f"trace_{name}.png") as shown:
            assert shown.size == size
        assert (pictures / f"trace_{name}.png").stat().st_size < 150_000
