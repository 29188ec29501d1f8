"""What one changes on the page of a small network: its numbers are those that `fnnet.trace` gives for the change."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from tracing.browser import CHROMIUM, Browser
from tracing.pages import traced

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
    pytest.mark.usefixtures("standard_promotion"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile"), width=1400) as browser:
        yield browser
        assert browser.errors == []


@pytest.fixture
def page(browser, tmp_path):
    browser.open(traced("digit").save(tmp_path / "trace.html"))
    return browser


def again(params=None, x=None, y=None):
    """The trace of the page's network with other numbers."""
    trace = traced("digit")
    params = trace.params if params is None else params
    x, y = (given.array if new is None else new for given, new in ((trace.x, x), (trace.y, y)))
    return fnnet.trace(trace.net, fnnet.softmax_cross_entropy, params, x, y)


def assert_page_has(page, trace):
    """All values, gradients and the loss are those of a trace, to 1e-5 of the largest."""
    assert page.run("lossNow()") == pytest.approx(trace.loss, rel=1e-5)
    for number, step in enumerate(trace):
        arrays = [(f"data.steps[{number}].value", step.value), (f"data.steps[{number}].incoming", step.incoming)]
        for one in step.outgoing:
            place = f"data.steps[{number}].outgoing.find((one) => one.of === '{one.of}')"
            arrays += [(f"{place}.value", one.value), (f"{place}.cotangent", one.numbers)]
        for place, numbers in arrays:
            shown = np.reshape(page.run(f"[...valuesOf({place})]"), numbers.shape)
            np.testing.assert_allclose(shown, numbers.array, rtol=1e-5, atol=1e-5 * max(numbers.largest, 1e-3))


def set_number(page, value):
    """What one does in the field of the chosen entry."""
    page.run(f"$('change-number').value = '{value}'; $('change-number').dispatchEvent(new Event('change'))")


def test_a_weight(page):
    page.run("show(0); figures.get('leaf kernel').choose([1, 2, 0, 1])")
    set_number(page, -0.75)
    params = jax.tree.map(jnp.array, traced("digit").params)
    params["conv_0"]["kernel"] = params["conv_0"]["kernel"].at[1, 2, 0, 1].set(-0.75)
    assert_page_has(page, again(params))
    assert "With your changes" in page.run("$('summary').textContent")
    page.click("#undo")
    assert_page_has(page, again())
    assert "With your changes" not in page.run("$('summary').textContent")


def test_a_slider_that_is_dragged(page):
    """The weight follows the pointer to its end, although every move draws the page anew."""
    page.run("show(0); figures.get('leaf kernel').choose([1, 2, 0, 1])")
    page.run("$('change-slider').scrollIntoView({block: 'center'})")
    left, top, width, height = page.run(
        "(b => [b.left, b.top, b.width, b.height])($('change-slider').getBoundingClientRect())"
    )
    ends = page.run("[Number($('change-slider').min), Number($('change-slider').max)]")
    for kind, part in (("mousePressed", 0.5), ("mouseMoved", 0.6), ("mouseMoved", 0.7), ("mouseReleased", 0.7)):
        at = {"x": left + part * width, "y": top + height / 2}
        page.send("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **at)
    value = page.run("numberAt({step: 0, role: 'leaf', of: 'kernel', index: [1, 2, 0, 1]})")
    assert value == pytest.approx(ends[0] + 0.7 * (ends[1] - ends[0]), abs=0.1)
    assert page.run("Number($('change-number').value)") == value


def test_a_pixel(page):
    page.run("show(0); figures.get('inputs ').choose([3, 4, 0])")
    set_number(page, 0.125)
    assert_page_has(page, again(x=jnp.asarray(traced("digit").x.array).at[3, 4, 0].set(0.125)))


def test_the_label(page):
    page.run("show(data.steps.length - 1); $('label').value = '8'; $('label').dispatchEvent(new Event('change'))")
    changed = again(y=jnp.array(8))
    assert_page_has(page, changed)
    shares = jax.nn.softmax(changed.outputs.array)
    widths = page.run("[...document.querySelectorAll('.classes .bar i')].map((bar) => parseFloat(bar.style.width))")
    np.testing.assert_allclose(widths, 100 * np.asarray(shares), atol=1e-3)
    assert page.run("document.querySelector('[data-class=\"8\"]').textContent").endswith("label")


def test_a_step_of_gradient_descent(page):
    """Each step lowers the loss here, and the page says both; two steps, so that the second uses the new gradient."""
    params, before = traced("digit").params, traced("digit")
    page.run("$('rate').value = '0.25'; $('rate').dispatchEvent(new Event('change'))")
    for _ in range(2):
        page.click("#take-step")
        params = jax.tree.map(lambda w, bar: w - 0.25 * bar, params, before.params_bar)
        after = again(params)
        assert_page_has(page, after)
        said = page.run("$('losses').textContent")
        numbers = re.match(r"Loss (\S+) before, (\S+) after\.$", said).groups()
        assert [float(number) for number in numbers] == pytest.approx([before.loss, after.loss], rel=1e-3)
        before = after


def test_the_next_update_is_said(page):
    page.run("show(6); figures.get('leaf kernel').choose([5, 3])")
    one = traced("digit")["dense_4"].cotangent("kernel")
    said = page.run("$('next-update').textContent")
    words = re.match(r"The step takes kernel\[5, 3\] from (\S+) to (\S+): minus (\S+) times (\S+)\.$", said).groups()
    weight, gradient = float(one.value.array[5, 3]), float(one.numbers.array[5, 3])
    assert [float(word) for word in words] == pytest.approx([weight, weight - 0.1 * gradient, 0.1, gradient], rel=1e-3)


def test_an_entry_followed_to_the_loss(page):
    """Each layer's moves are its output's derivative by the weight; times the gradient, they sum to its gradient."""
    trace, at = traced("digit"), (1, 2, 0, 1)
    page.run(f"show(0); figures.get('leaf kernel').choose({list(at)}); $('follow').click()")
    moves = jax.jacrev(trace.net.apply)(trace.params, trace.x.array)["conv_0"]["kernel"][:, *at]
    place = len(trace.steps) - 2
    np.testing.assert_allclose(page.run(f"[...following.tangents[{place}]]"), moves, rtol=1e-4, atol=1e-6)
    gradient = trace.params_bar["conv_0"]["kernel"][at]
    rows = page.run("[...document.querySelectorAll('#path tbody tr')].map((row) => row.cells[0].textContent)")
    assert rows == [step.name for step in trace]
    sums = page.run("[...document.querySelectorAll('#path tbody tr')].map((row) => Number(row.cells[3].textContent))")
    one_path = [total for name, total in zip(rows, sums, strict=True) if "/" not in name]
    np.testing.assert_allclose(one_path, gradient, rtol=1e-3)


def test_a_network_that_cannot_be_changed_offers_nothing(browser, tmp_path):
    browser.open(traced("attention").save(tmp_path / "trace.html"))
    browser.run("show(1); figures.get('leaf query_kernel').choose([1, 1])")
    assert browser.run("$('touch').textContent") == ""
