"""The page of a trace as it is played: what is computed so far, the address, and everything by keyboard alone."""

import functools

import pytest

from tracing.browser import CHROMIUM, Browser
from tracing.pages import traced

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return traced("digit").save(tmp_path_factory.mktemp("page") / "trace.html")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile"), width=1400) as browser:
        yield browser
        assert browser.errors == []


@functools.cache
def names():
    return [step.name for step in traced("digit")]


def text(browser, selector):
    return browser.run(f"document.querySelector('{selector}').textContent")


def not_yet(browser):
    """The layers whose value, and whose gradient, the strip leaves empty."""
    canvases = "[...document.querySelectorAll('#network button')].map((b) => [...b.querySelectorAll('canvas')]"
    found = browser.run(f"{canvases}.map((c) => c.classList.contains('not-yet')))")
    return [sum(column) for column in zip(*found, strict=True)]


def test_a_layer_at_a_time_forward_then_backward(browser, page):
    browser.open(page)
    count = len(names())
    browser.click("#first")
    assert not_yet(browser) == [count, count]
    assert "nothing is computed yet" in text(browser, "#where")
    for done in range(1, count + 1):
        browser.click("#on")
        assert text(browser, "#layer-name") == names()[done - 1]
        # The loss by itself has the gradient 1, as soon as it is there.
        assert not_yet(browser) == [count - done, count - (done == count)]
        assert browser.run("document.querySelectorAll('.arrows .go.done').length") == done
    for back in range(1, count + 1):
        browser.click("#on")
        assert text(browser, "#layer-name") == names()[-back]
        assert not_yet(browser)[0] == 0
    assert not_yet(browser) == [0, 0]
    assert browser.run("document.querySelector('#on').disabled")


def test_a_gradient_is_shown_when_it_is_computed(browser, page):
    browser.open(page)
    place = names().index("max_pool_2")
    browser.run(f"goToPosition({2 * len(names()) - place - 1})")  # just before max_pool_2's backward
    browser.run(f"show({place})")
    states = "[...figures].map(([key, figure]) => [key, figure.classList.contains('not-yet')])"
    assert dict(browser.run(states)) == {
        "inputs ": False, "cotangent x": True, "value ": False, "incoming ": False,
    }  # fmt: skip
    browser.run("stepBy(1)")
    assert not any(dict(browser.run(states)).values())


def test_space_plays_and_pauses(browser, page):
    browser.open(page)
    browser.run("document.activeElement.blur()")
    browser.press(" ")
    assert text(browser, "#play") == "❚❚ Pause"
    assert "nothing is computed yet" in text(browser, "#where")  # from the beginning
    browser.run("new Promise((done) => setTimeout(done, TICK + 300))")
    assert text(browser, "#layer-name") == names()[0]
    browser.press(" ")
    assert text(browser, "#play") == "▶ Play"
    browser.press("ArrowRight")
    assert text(browser, "#layer-name") == names()[1]
    browser.press("ArrowLeft")
    assert text(browser, "#layer-name") == names()[0]


def test_the_address_opens_the_same_place(browser, page):
    browser.open(page)
    place = names().index("residual_1/conv_0")
    browser.run(f"goToPosition({2 * len(names()) - place})")
    browser.run("goTo({step: current, role: 'cotangent', of: 'kernel', index: [1, 2, 0, 1]})")
    address = browser.run("location.hash")
    assert address == "#backward=residual_1/conv_0&entry=kernel_bar[1,2,0,1]"
    shown = [text(browser, each) for each in ("#layer-name", "#where", "#chain-text", "#numbers")]
    browser.send("Page.navigate", url="about:blank")
    browser.open(page, address)
    assert [text(browser, each) for each in ("#layer-name", "#where", "#chain-text", "#numbers")] == shown
    browser.run("location.hash = '#forward=max_pool_2&layer=dense_4'")
    browser.run("new Promise((done) => setTimeout(done, 50))")
    assert text(browser, "#layer-name") == "dense_4"
    assert not_yet(browser) == [3, 8]
    for wrong in ("#backward=nowhere&entry=kernel_bar[9]", "#x", "#forward=conv_0&entry=kernel_bar[9,9,9,9]", "#%"):
        browser.open(page, wrong)
        assert text(browser, "#layer-name") in names()


def test_the_keyboard_alone_suffices(browser, page):
    """Tab reaches every control; Enter chooses a layer, an entry, a factor, and follows a weight."""
    browser.open(page)
    reached = []
    for _ in range(60):
        browser.press("Tab")
        focused = "((n) => n.id || n.dataset.layer || n.dataset.tensor || n.textContent)(document.activeElement)"
        reached.append(browser.run(focused))
        if reached[-1] == "kernel_bar, its gradient":
            break
    assert {"theme", "first", "back", "play", "position", "conv_0", "loss"} <= set(reached)
    assert reached[-1] == "kernel_bar, its gradient"
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        browser.press(key)
    assert "conv_0: kernel_bar[1, 0, 0, 0] =" in text(browser, "#chain-text")
    browser.run("document.querySelector('#chain-of button').focus()")
    browser.press("Enter")
    assert "conv_0: x[" in text(browser, "#chain-text")
    browser.run("goTo({step: 0, role: 'leaf', of: 'kernel', index: [1, 1, 0, 0]})")
    browser.run("document.querySelector('#follow').focus()")
    browser.press("Enter")
    assert "followed to the loss" in text(browser, "#chain-text")
    assert text(browser, "#network").count("changes ±") == len(names())
    browser.press("Escape")
    assert "changes" not in text(browser, "#network")
