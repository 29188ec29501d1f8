"""The pictures of a trace's page in a real browser, pixel by pixel, for arrays of known numbers."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from fnnet.tracing.page.sampling import sample
from tracing.browser import CHROMIUM, Browser
from tracing.networks import seen

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")

ROLES = {"number": "", "bars": "x", "matrix": "yx", "image": "yxc", "weights": "cyx", "time": "xy", "tokens": "c"}
BACKGROUND = {"light": (255, 255, 255), "dark": (20, 22, 26)}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A browser with a page of a trace, of which nothing is seen."""
    with Browser(tmp_path_factory.mktemp("profile"), width=1400) as browser:
        browser.open(seen().save(tmp_path_factory.mktemp("page") / "trace.html"))
        browser.run("for (const node of document.body.children) node.style.display = 'none'")
        yield browser
        assert browser.errors == []


@pytest.fixture
def draw(page):
    """draw(array, kind, roles=..., theme=..., **more of the tensor): the one picture of the page, in `shown`."""

    def drawn(array, kind, roles=None, theme="light", marks=(), **more):
        array = np.asarray(array, np.float32)
        finite = array[np.isfinite(array)]
        tensor = {
            "name": "a",
            "shape": array.shape,
            "places": array.shape,
            "roles": ROLES[kind] if roles is None else roles,
            "draw": kind,
            "dtype": "float32",
            "said": "",
            "note": "",
            "low": float(finite.min()) if finite.size else "NaN",
            "high": float(finite.max()) if finite.size else "NaN",
            "rms": 1,
            "zeros": 0.25,
            "nans": 0,
            "infinities": 0,
            "array": "shown",
        } | more
        numbers = ", ".join(
            "NaN" if np.isnan(v) else f"{'-' if v < 0 else ''}Infinity" if np.isinf(v) else repr(float(v))
            for v in array.ravel()
        )
        page.run(f"""(() => {{
            document.documentElement.dataset.theme = {json.dumps(theme)};
            decoded.set("shown", Float32Array.from([{numbers}]));
            window.asked = [];
            if (window.shown) shown.remove();
            window.shown = picture({json.dumps(tensor)}, {{
                title: "shown", marks: {json.dumps(marks)}, onChoose: (index, flat) => asked.push([index, flat]),
            }});
            document.body.append(shown);
            scrollTo(0, 0);
        }})()""")
        return array

    yield drawn
    page.send("Emulation.setDeviceMetricsOverride", width=1400, height=1000, deviceScaleFactor=1, mobile=False)


def pixels(page):
    """The canvas, (height, width, 4)."""
    size = page.run("(c => [c.height, c.width])(shown.querySelector('canvas'))")
    pixels = "c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
    data = page.run(f"(c => Array.from({pixels}))(shown.querySelector('canvas'))")
    return np.array(data, np.uint8).reshape(*size, 4)


def box(page, index):
    """left, top, width, height of an entry."""
    found = page.run(f"shown.boxOf({json.dumps(list(map(int, index)))})")
    return tuple(found[side] for side in ("left", "top", "width", "height"))


def screenshot(page):
    """What is seen of the picture: (height, width, 3), from the canvas's corner."""
    corner = page.run(
        "(b => [b.left, b.top, b.width, b.height])(shown.querySelector('canvas').getBoundingClientRect())"
    )
    clip = dict(zip(("x", "y", "width", "height"), corner, strict=True))
    result = page.send("Page.captureScreenshot", format="png", clip={**clip, "scale": 1})
    with Image.open(io.BytesIO(base64.b64decode(result["data"]))) as image:
        return np.array(image.convert("RGB")).astype(int)


def luminance(colour):
    """As WCAG has it."""
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in map(float, colour)]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def move_to(page, index):
    """The mouse, to the middle of an entry."""
    left, top, width, height = box(page, index)
    corner = page.run("(b => [b.left, b.top])(shown.querySelector('canvas').getBoundingClientRect())")
    at = {"x": corner[0] + left + width / 2, "y": corner[1] + top + height / 2}
    page.send("Input.dispatchMouseEvent", type="mouseMoved", **at)
    return at


# Sizes.


def test_arrays_have_a_size_that_one_can_see(page, draw):
    rng = np.random.default_rng(0)
    draw(rng.normal(size=(8, 8, 1)), "image")
    assert pixels(page).shape[:2] == (160, 160)
    draw(rng.normal(size=(128, 10)), "matrix")
    height, width = pixels(page).shape[:2]
    assert height / width == 12.8
    assert width >= 40
    draw(rng.normal(size=64), "bars")
    height, width = pixels(page).shape[:2]
    assert height >= 100
    assert width == 64 * 5
    draw(np.float32(1.5), "number", roles="")
    assert page.run("shown.querySelector('[data-tensor]').textContent") == "1.5"


def test_tiles_stand_in_as_many_columns_as_fit(page, draw):
    draw(np.ones((5, 5, 32)), "image")
    boxes = np.array([box(page, (0, 0, k)) for k in range(32)])
    columns, pitch = (boxes[:, 1] == 0).sum(), boxes[1, 0] - boxes[0, 0]
    assert columns * pitch - 4 <= 420 < (columns + 1) * pitch
    assert boxes[:, 1].max() + 5 * boxes[0, 3] <= 420
    assert boxes[0, 2] >= 12  # pixels an entry


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_is_wider_than_the_window(page, draw, width):
    page.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    rng = np.random.default_rng(0)
    cases = [
        ("bars", (3000,)),
        ("bars", (40,)),
        ("matrix", (3, 1500)),
        ("matrix", (64, 64)),
        ("image", (28, 28, 8)),
        ("weights", (2, 40, 40)),
        ("tokens", (64,)),
        ("time", (300, 12)),
    ]
    for kind, shape in cases:
        draw(rng.integers(0, 9999, shape), kind)
        page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.run("document.documentElement.scrollWidth <= innerWidth"), (kind, shape)
        # What does not fit into its column scrolls in it, and can be reached.
        asked = "[s.scrollWidth <= s.clientWidth, getComputedStyle(s).overflowX === 'auto']"
        fits, scrolls = page.run(f"(s => {asked})(shown.querySelector('.stage'))")
        assert fits or scrolls, (kind, shape)
        assert scrolls == (kind == "matrix" and shape == (3, 1500)), (kind, shape)


def test_cells_stay_sharp_on_a_screen_of_other_pixels(page, draw):
    page.send("Emulation.setDeviceMetricsOverride", width=390, height=900, deviceScaleFactor=1.5, mobile=False)
    array = draw(np.random.default_rng(0).normal(size=(60, 90)), "matrix")
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    seen = pixels(page)
    assert seen.shape[1] >= 1.5 * 300
    colours = {
        tuple(c) for c in page.run(f"{json.dumps(array.ravel().tolist())}.map((v) => colour(v, mostOf(shown.tensor)))")
    }
    assert {tuple(pixel) for pixel in seen[..., :3].reshape(-1, 3).tolist()} == colours  # none is a blend of two
    assert (seen[..., 3] == 255).all()


# Numbers as colours and as heights.


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_the_signs_of_the_numbers(page, draw, theme):
    array = draw([[-3, -1, -0.1, 0, 0.1, 1, 3, np.nan, np.inf]], "matrix", theme=theme)
    seen = pixels(page)
    at = [box(page, (0, k)) for k in range(array.shape[1])]
    shown = [seen[int(t + h / 2), int(a + w / 2), :3].astype(int) for a, t, w, h in at]
    redness = [red - blue for red, _, blue in shown[:7]]
    assert redness == sorted(redness)
    assert redness[2] < redness[3] < redness[4]
    assert np.ptp(shown[3]) < 20  # zero is a grey that differs from the page
    assert np.abs(shown[3] - BACKGROUND[theme]).max() > 10
    green, yellow = shown[7], shown[8]
    assert green[1] > green[0] + 100
    assert min(yellow[:2]) > yellow[2] + 100


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_bars_are_as_high_as_the_numbers(page, draw, theme):
    array = draw([0.5, -2, 0, 3, 1e-9, -0.25], "bars", theme=theme)
    seen = pixels(page)[..., :3].astype(int)
    signs = np.sign(seen[..., 0] - seen[..., 2]) * (np.ptp(seen, axis=-1) > 60)  # 1 red, -1 blue
    columns = [signs[:, int(left + width / 2)] for left, _, width, _ in (box(page, (k,)) for k in range(len(array)))]
    unit = columns[3].sum() / 3
    zero = np.flatnonzero(columns[3]).max()
    assert unit > 20  # pixels
    for column, value in zip(columns, array, strict=True):
        assert abs(column.sum() - value * unit) <= 1.5, value
        rows = np.flatnonzero(column)
        assert not rows.size or abs((rows.min() if value < 0 else rows.max()) - zero) <= 1.5


def test_a_long_vector_is_broken_into_lines_of_one_scale(page, draw):
    array = draw(np.linspace(-1, 1, 700), "bars")
    seen = pixels(page)[..., :3].astype(int)
    assert page.run("new Set([...Array(700).keys()].map((k) => shown.boxOf([k]).top)).size") > 2  # lines
    for k in (0, 200, 699):
        left, top, width, height = map(int, box(page, (k,)))
        column = seen[top : top + height, left + width // 2]
        assert abs((np.ptp(column, axis=-1) > 60).sum() - abs(array[k]) / 2 * (height - 1)) <= 2


def test_time_runs_to_the_right(page, draw):
    draw(np.arange(12).reshape(4, 3), "time")
    assert box(page, (3, 0))[0] > box(page, (0, 0))[0]
    assert box(page, (0, 2))[1] > box(page, (0, 0))[1]
    assert "time" in page.run("shown.querySelector('figcaption').textContent")


def test_the_scale_has_the_numbers_at_its_ends(page, draw):
    draw([[-0.25, 0.75]], "matrix")
    assert page.run("[...shown.querySelectorAll('.scale span')].map((s) => s.textContent)") == ["-0.25", "0.75"]
    assert page.run("shown.querySelector('.scale i i').style.left") == "25%"
    draw([[0, 0]], "matrix")
    assert page.run("shown.querySelector('.scale').textContent") == "every entry is 0"
    draw([0, 0], "bars")
    assert page.run("shown.querySelector('.scale').textContent") == "every entry is 0"


# What one points at, chooses, and what is lit.


@pytest.mark.parametrize("kind", ["image", "bars", "weights", "time"])
def test_hover_shows_the_entry(page, draw, kind):
    rng = np.random.default_rng(1)
    array = draw(rng.normal(size={"bars": 30, "time": (6, 5)}.get(kind, (3, 4, 4))), kind)
    for index in [tuple(rng.integers(0, array.shape)) for _ in range(6)]:
        at = move_to(page, index)
        name, _, value = page.run("document.getElementById('tip').textContent").partition(" = ")
        assert name == f"a[{', '.join(map(str, index))}]"
        assert np.float32(value) == array[index]
        tip = page.run("(b => [b.left, b.top])(document.getElementById('tip').getBoundingClientRect())")
        assert np.hypot(tip[0] - at["x"], tip[1] - at["y"]) < 60  # beside the pointer
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=1300, y=900)
    assert page.run("document.getElementById('tip').hidden")


def test_a_tap_chooses_the_nearest_entry(page, draw):
    draw(np.arange(2 * 3 * 3).reshape(3, 3, 2), "image")
    left, top, width, height = box(page, (1, 2, 0))
    corner = page.run("(b => [b.left, b.top])(shown.querySelector('canvas').getBoundingClientRect())")
    at = {"x": corner[0] + left + width + 1, "y": corner[1] + top + height / 2}  # between two tiles
    page.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[at])
    page.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    page.run("new Promise((done) => setTimeout(done, 50))")
    assert page.run("asked") == [[[1, 2, 0], 10]]
    assert page.run("shown.querySelector('output').textContent") == "a[1, 2, 0] = 10"


def test_the_keyboard_walks_through_all_entries(page, draw):
    draw(np.arange(2 * 2 * 3).reshape(2, 2, 3), "image")
    page.run("shown.querySelector('canvas').focus()")
    visited = []
    for _ in range(6):  # a row of three tiles, each two wide
        page.press("ArrowRight")
        visited.append(tuple(page.run("JSON.parse(shown.querySelector('output').dataset.index)")))
    assert visited == [(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (0, 0, 2), (0, 1, 2)]
    assert page.run("asked") == []
    page.press("Enter")
    assert page.run("asked") == [[[0, 1, 2], 5]]
    assert page.run("shown.querySelector('canvas').matches(':focus-visible')")


def test_lit_entries_are_outlined_where_they_stand(page, draw):
    for theme in ("light", "dark"):
        array = draw(np.linspace(-1, 1, 25).reshape(5, 5), "matrix", theme=theme)
        before = screenshot(page)
        lit = {(0, 0): 1.0, (2, 2): -0.5, (4, 4): 0.2}
        page.run(f"shown.light({json.dumps([{'index': i, 'weight': w} for i, w in lit.items()])})")
        after = screenshot(page)
        changed = np.abs(after - before).max(-1) > 40
        for index in np.ndindex(array.shape):
            left, top, width, height = map(int, box(page, index))
            inner = changed[top + 4 : top + height - 4, left + 4 : left + width - 4]
            assert not inner.any(), index  # the number's colour stays
            edge = after[top + height // 2, max(left - 2, 0) : left + 3]
            if index in lit:  # a dark line and a bright one: one of the two is seen on any colour
                assert edge.max(-1).min() < 90, index
                assert edge.max() > 150, index
                bright = edge[edge.max(-1).argmax()]
                assert np.sign(bright[0] - bright[2]) == np.sign(lit[index]), index  # orange adds, cyan takes away
            beside = (index[0], index[1] - 1) in lit  # whose right edge is this one's left edge
            assert changed[top + height // 2, left : left + 3].any() == (index in lit or beside), index
        page.run("shown.light([])")
        assert (screenshot(page) == before).all()


def test_marked_entries_have_a_corner(page, draw):
    array = draw(np.zeros((4, 4)), "matrix", marks=[[1, 2], [3, 0]])
    seen = screenshot(page)
    for index in np.ndindex(array.shape):
        left, top, width, _ = map(int, box(page, index))
        assert (seen[top + 2, left + width - 3].max() < 60) == (index in [(1, 2), (3, 0)]), index


def test_what_is_not_computed_yet(page, draw):
    draw(np.ones((4, 4)), "matrix")
    before = screenshot(page)
    page.run("shown.choose([1, 1]); shown.notYet(true)")
    assert page.run("shown.querySelector('.hatch').textContent") == "not computed yet"
    assert page.run("shown.querySelector('.hatch').checkVisibility()")
    assert page.run("shown.querySelector('canvas').getAttribute('aria-label')") == "shown: not computed yet"
    assert len(np.unique(screenshot(page).reshape(-1, 3), axis=0)) > 2  # hatched
    assert page.run("shown.innerText.includes('1')") is False  # no number is seen
    page.run("shown.choose([2, 2])")
    assert page.run("asked.length") == 1
    page.run("shown.notYet(false)")
    assert (screenshot(page) == before).all()


def test_live_values_are_drawn_and_read(page, draw):
    draw([1, 2, 3], "bars")
    page.run("shown.select([1]); shown.tensor.now = Float64Array.from([0.5, -7, 0.1]); shown.refresh()")
    assert page.run("shown.querySelector('output').textContent") == "a[1] = -7"
    assert page.run("[...shown.querySelectorAll('.over text')].map((t) => t.textContent)")[:2] == ["0.5", "-7"]
    blue = pixels(page)[-30, int(box(page, (1,))[0]) + 5]
    assert blue[2] > blue[0]


# Arrays by what they mean.


def test_a_chosen_row_of_attention_is_a_bar_chart(page, draw):
    array = draw(np.random.default_rng(0).dirichlet(np.ones(4), (2, 4)), "weights")
    page.run("shown.choose([1, 2, 3])")
    row = "shown.querySelector('.picture')"
    assert page.run(f"{row}.querySelector('b').textContent") == "a[1, 2]: what this row looks at"
    for k in range(4):
        page.run(f"{row}.select([1, 2, {k}])")
        name, _, value = page.run(f"{row}.querySelector('output').textContent").partition(" = ")
        assert name == f"a[1, 2, {k}]"
        assert np.float32(value) == array[1, 2, k]


def test_tokens_are_read_and_rows_that_are_read_are_marked(page, draw):
    draw([3, 1, 44], "tokens", dtype="int32")
    assert page.run("[...shown.querySelectorAll('.over text')].map((t) => t.textContent)") == ["3", "1", "44"]
    draw(np.ones((5, 3)), "matrix", read=[0, 3])
    arrows = page.run("shown.querySelector('.over .read').getAttribute('d')").split("M")[1:]
    tops = [float(arrow.split("l")[0].split()[1]) + 4 for arrow in arrows]
    assert tops == [top + height / 2 for _, top, _, height in (box(page, (row, 0)) for row in (0, 3))]


def test_each_picture_has_a_name_and_a_description(page, draw):
    for kind, array in (("matrix", np.ones((2, 3))), ("bars", np.ones(3))):
        draw(array, kind, said="sampled: 1 of 2 on axis 0")
        nodes = page.send("Accessibility.getFullAXTree")["nodes"]
        named = [node for node in nodes if node.get("name", {}).get("value") == "shown"]
        described = [node.get("description", {}).get("value", "") for node in named]
        assert any("rms 1; 25 % zero" in text and "from" in text and "sampled" in text for text in described), kind
    draw(np.float32(2), "number")
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    assert any(node.get("name", {}).get("value") == "shown: 2" for node in nodes)


def test_each_entry_of_many_axes_has_its_place(page, draw):
    array = draw(np.arange(2 * 3 * 2 * 2 * 2).reshape(2, 3, 2, 2, 2), "image", roles="rryxc")
    seen = set()
    for index in np.ndindex(array.shape):
        page.run(f"shown.select({list(index)})")
        assert page.run("shown.querySelector('output').dataset.value") == str(int(array[index]))
        seen.add(box(page, index)[:2])
    assert len(seen) == array.size
    assert sample((2, 3, 9, 9, 9), batched=True).roles == "rryxc"


def test_small_pictures_show_the_same_numbers(page, draw):
    for kind, array in (("bars", [2.0, -2.0]), ("matrix", [[2.0, -2.0]]), ("image", [[[2.0], [-2.0]]])):
        draw(array, kind)
        page.run("window.small = make('canvas'); thumbnail(small, shown.tensor)")
        size = page.run("[small.height, small.width]")
        data = page.run("Array.from(small.getContext('2d').getImageData(0, 0, small.width, small.height).data)")
        seen = np.array(data).reshape(*size, 4)
        rows, columns = np.nonzero(seen[..., 3] > 250)
        left, right = (seen[rows[at], columns[at], :3] for at in (columns < size[1] / 2 - 2, columns > size[1] / 2 + 2))
        assert (left[:, 0] > left[:, 2]).all(), kind
        assert (right[:, 0] < right[:, 2]).all(), kind
        assert len(left) > 100, kind


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_can_be_read(page, draw, theme):
    """WCAG AA: a contrast of 4.5 between each text and what is behind it."""
    draw(np.eye(3), "bars", roles="-x", theme=theme, said="sampled", note="a note")

    back = luminance(BACKGROUND[theme])
    texts = page.run(r"""[...shown.querySelectorAll("b, .note, .over text, summary, output, .scale")].map((node) => {
        const style = getComputedStyle(node);
        return (node.tagName === "text" ? style.fill : style.color).match(/\d+/g).map(Number);
    })""")
    assert len(texts) > 6
    for colour in texts:
        lighter, darker = sorted((luminance(colour[:3]), back), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, colour


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_small_array_has_its_numbers_on_the_picture(page, draw, theme):
    for kind, array in (("matrix", [[-3.0], [0.25], [2e-5]]), ("bars", [1.5, -2, 0])):
        array = draw(array, kind, theme=theme)
        texts = page.run("""[...shown.querySelectorAll('.over text')].map((text) => {
            const box = text.getBoundingClientRect(), canvas = shown.querySelector('canvas').getBoundingClientRect();
            return [text.textContent, box.left + box.width / 2 - canvas.left, box.top + box.height / 2 - canvas.top,
                    getComputedStyle(text).fill.match(/[0-9]+/g).map(Number)];
        })""")
        for index in np.ndindex(array.shape):
            left, top, width, height = box(page, index)
            within = [t for t in texts if left <= t[1] <= left + width and top <= t[2] <= top + height]
            assert [float(t[0]) for t in within] == [pytest.approx(array[index])], (kind, index)
            if kind == "matrix":
                back = luminance(pixels(page)[int(top + 2), int(left + 2), :3])
                lighter, darker = sorted((luminance(within[0][3]), back), reverse=True)
                assert (lighter + 0.05) / (darker + 0.05) >= 4.5, index
