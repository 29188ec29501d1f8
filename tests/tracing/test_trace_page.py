"""The page of a trace: equations, size, and what is seen in a real browser."""

import base64
import json
import re

import numpy as np
import pytest

import fnnet
from fnnet.tracing.page import sampling, webpage
from fnnet.tracing.page.mathml import mathml
from fnnet.tracing.page.sampling import ENTRIES, sample
from tracing.browser import CHROMIUM, Browser
from tracing.networks import seen

# Equations.


def test_a_formula_is_typeset():
    def text(formula):
        return re.sub(r'alttext="[^"]*"', "", mathml(formula))

    assert "<munder><mo>&sum;</mo><mrow><mi>o</mi></mrow></munder>" in text("x_bar_ni = sum_o y_bar_no W_io")
    assert '<msub><mover><mi>x</mi><mo class="bar">&oline;</mo></mover>' in text("x_bar_ni = sum_o y_bar_no W_io")
    assert "<mfrac><mrow><mn>1</mn></mrow><mn>2</mn></mfrac>" in text("l = 1/2 sum_i (a_i - y_i)^2")
    assert text("(a - y)^2").count("<msup>") == 1
    assert '<mrow><mo stretchy="false">(</mo><mi>a</mi>' in text("(a - y)^2")
    assert "<script>" not in mathml("<script>alert(1)</script>")


# Size and sampling.


def test_what_is_left_out_is_said():
    shown = sample((32, 28, 28, 32), batched=True)
    assert shown.roles == "ryxc"
    assert shown.said == "sampled: 2 of 32 on axis 0, 5 of 32 on axis 3"
    assert sample((8, 5), batched=True).said == ""
    batches = (32, 3136), (4, 224, 224, 64), (2, 9, 9, 9, 5), (0, 3)
    kernels = (3136, 128), (100_000,), (7, 7, 512, 512), ()
    for shape, batched in [(shape, True) for shape in batches] + [(shape, False) for shape in kernels]:
        shown = sample(shape, batched, is_kernel=not batched)
        assert np.prod([len(at) for at in shown.indices], dtype=int) <= ENTRIES
        assert shown.of(np.empty(shape, np.int8)).shape == tuple(len(at) for at in shown.indices)


def test_a_page_of_many_arrays_shows_less_of_each(monkeypatch):
    monkeypatch.setattr(sampling, "WHOLE", 0)
    sizes = [one.value.array.size for one in seen()]
    shown = {}
    for budget in (10_000, 700):
        monkeypatch.setattr(sampling, "LEAST", 4)
        monkeypatch.setattr(sampling, "SAMPLED", budget)
        most = sampling.most_shown([seen()])
        seen_of = [sample(one.value.shape, True, most=most).indices for one in seen()]
        shown[budget] = [np.prod([len(at) for at in indices]) for indices in seen_of]
    assert shown[10_000] == sizes
    assert max(shown[700]) < max(sizes)
    assert sum(shown[700]) < 700


def embedded(file):
    text = file.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_holds_the_arrays_own_bits(tmp_path):
    data = embedded(seen().save(tmp_path / "trace.html"))
    for step, on_page in zip(seen(), data["steps"], strict=True):
        tensor = on_page["incoming"]
        found = np.frombuffer(base64.b64decode(data["arrays"][tensor["array"]]["base64"]), "<f4")
        assert found.tobytes() == step.incoming.array.tobytes()
        assert tensor["rms"] == step.incoming.rms


def test_the_page_asks_nothing_of_the_network(tmp_path):
    text = seen().save(tmp_path / "trace.html", title="<b>&</b>").read_text(encoding="utf-8")
    assert re.findall(r"(?:src|href)=\"(?!#)", text) == []
    assert "http" not in re.sub(r"\"sources\":\"[^\"]*\"", "", text)
    assert "<title>&lt;b&gt;&amp;&lt;/b&gt;</title>" in text


# In a browser.


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        file = tmp_path_factory.mktemp("page") / "trace.html"
        browser.open(seen().save(file))
        yield browser
        assert browser.errors == []
        assert [url for url in browser.requests if not url.startswith(("file:", "about:", "data:"))] == []


def entry_on_page(browser, title):
    place = f'document.querySelector("[data-tensor=\\"{title}\\"]").closest("figure").querySelector("output")'
    return json.loads(browser.run(f"{place}.dataset.index")), browser.run(f"{place}.dataset.value")


def test_clicking_through_the_layers(browser):
    for step in seen():
        browser.click(f'[data-layer="{step.name}"]')
        assert browser.run("document.getElementById('layer-name').textContent") == step.name
        title = f"{step.incoming.name}, the gradient that comes in"
        browser.click(f'canvas[data-tensor="{title}"]', x=0.3, y=0.4)
        index, value = entry_on_page(browser, title)
        assert np.float32(value) == step.incoming.array[tuple(index)], (step.name, index, value)
        count = browser.run("document.querySelectorAll('#equations math').length")
        assert count == sum(len(page.equations) for page in step.pages)


def test_numbers_by_keyboard(browser):
    browser.click('[data-layer="dense_5"]')
    browser.run("document.querySelector('canvas[data-tensor=\"kernel_bar, its gradient\"]').focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "Enter"):  # the first shows where one is
        browser.press(key)
    index, value = entry_on_page(browser, "kernel_bar, its gradient")
    assert index == [2, 1]
    assert np.float32(value) == seen()["dense_5"].cotangent("kernel").numbers.array[2, 1]
    shown = browser.run("document.getElementById('chain-of').textContent")
    assert all(term.name in shown for term in seen().explain("dense_5", "kernel", (2, 1)).terms)


@pytest.fixture(params=["a large network", "a large layer"])
def sampled(tmp_path, monkeypatch, request):
    """A page that has the products of chosen entries only; of a layer if its derivative has no room."""
    if request.param == "a large network":
        monkeypatch.setattr(sampling, "WHOLE", 0)
    else:
        monkeypatch.setattr(fnnet.Dense, "engine", lambda self, shape: None)
        monkeypatch.setattr(webpage, "FACTORS", 1)
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with Browser(tmp_path / "profile") as browser:
        browser.open(seen().save(tmp_path / "trace.html"))
        yield browser
        assert browser.errors == []


def test_the_products_of_a_marked_entry(sampled):
    browser = sampled
    browser.click('[data-layer="dense_5"]')
    assert browser.run("document.getElementById('numbers').textContent").startswith("Choose an entry of a picture.")
    kernel = "data.steps.find((step) => step.name === 'dense_5').outgoing.find((one) => one.of === 'kernel')"
    index = tuple(browser.run(f"{kernel}.chains[0].index"))
    chain = seen().explain("dense_5", "kernel", index)
    marked = browser.run(f"{kernel}.chains.map((one) => one.index)")
    other = next(i for i in range(18) if [i, 0] not in marked)
    browser.run(f"goTo({{step: data.steps.length - 2, role: 'cotangent', of: 'kernel', index: [{other}, 0]}})")
    shown = browser.run("document.getElementById('numbers').textContent")
    assert "is large: the page has" in shown
    assert f'trace.explain("dense_5", "kernel", ({other}, 0))' in shown
    browser.run(f"goTo({{step: data.steps.length - 2, role: 'cotangent', of: 'kernel', index: {list(index)}}})")
    shown = browser.run("document.getElementById('chain-text').textContent")
    value = re.match(r"dense_5: kernel_bar\[\d+, \d+\] = (\S+)$", shown)[1]
    assert np.float32(value) == seen()["dense_5"].cotangent("kernel").numbers.array[index]
    cells = browser.run("document.getElementById('chain-of').textContent")
    assert all(term.name in cells for term in chain.terms)


def test_from_layer_to_layer_by_keyboard(browser):
    browser.click('[data-layer="dense_5"]')
    browser.run("document.querySelector('[data-layer=\"dense_5\"]').focus()")
    browser.press("ArrowLeft")
    assert browser.run("document.activeElement.dataset.layer") == "dropout_4"
    browser.press("Home")
    assert browser.run("document.getElementById('layer-name').textContent") == "relu_0"


def test_pictures_are_drawn_light_and_dark(browser):
    """The pixel of an entry has the sign of the entry: blue below zero, red above, the background at zero."""
    browser.click('[data-layer="dense_5"]')
    array = seen()["dense_5"].incoming.array
    low, high = (np.unravel_index(f(array), array.shape) for f in (np.argmin, np.argmax))

    def pixel(at):
        canvas = 'document.querySelector("canvas[data-tensor=\\"y_bar, the gradient that comes in\\"]")'
        box = browser.run(f"{canvas}.closest('figure').boxOf({list(map(int, at))})")
        middle = f"{box['left'] + box['width'] // 2}, {box['top'] + box['height'] // 2}, 1, 1"
        return browser.run(f"Array.from({canvas}.getContext('2d').getImageData({middle}).data)")

    for theme in ("light", "dark"):
        if browser.run("document.documentElement.dataset.theme") != theme:
            browser.click("#theme")
        assert browser.run("document.documentElement.dataset.theme") == theme
        assert pixel(low)[2] > pixel(low)[0]
        assert pixel(high)[0] > pixel(high)[2]
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(20, 22, 26)"


def test_a_screen_reader_finds_its_way(browser):
    unnamed = browser.run(
        "Array.from(document.querySelectorAll('main canvas')).filter(c => !c.getAttribute('aria-label')).length"
    )
    assert unnamed == 0
    assert browser.run("document.documentElement.lang") == "en"
    assert browser.run("document.querySelectorAll('h1').length") == 1
    assert browser.run("document.querySelectorAll('[aria-current=true]').length") == 1
    tree = browser.send("Accessibility.getFullAXTree")["nodes"]
    roles = {node["role"]["value"] for node in tree if "role" in node}
    assert {"main", "navigation", "heading", "button", "table"} <= roles
    buttons = [node for node in tree if node.get("role", {}).get("value") == "button"]
    assert all(node.get("name", {}).get("value") for node in buttons)
