"""The picture of a wrong rule: which entry stands where, and what is drawn in which colour."""

import jax
import numpy as np
import pytest

import fnnet
from fnnet.checking import plotting
from fnnet.checking.entries import Entries
from fnnet.checking.report import Failure, Report
from fnnet.checking.tiling import tiled

RNG = np.random.default_rng(0)
X, KERNEL = (RNG.normal(size=s).astype(np.float32) for s in ((4, 3), (3, 5)))


def labels(tiles):
    return [[label for _, label in side] for side in tiles.ticks]


def test_a_matrix_is_an_image():
    tiles = tiled(X, (3, 1))
    np.testing.assert_array_equal(tiles.image, X)
    assert labels(tiles) == [["0", "1", "2", "3"], ["0", "1", "2"]]
    assert tiles.labels == ("axis 0", "axis 1")
    assert tiles.marked == (3, 1)


def test_a_vector_runs_across_and_a_scalar_is_one_entry():
    tiles = tiled(np.arange(20.0), (7,))
    assert tiles.image.shape == (1, 20)
    assert tiles.marked == (0, 7)
    assert labels(tiles) == [[], ["0", "3", "6", "9", "12", "15", "18"]]
    assert tiled(np.array(2.0), ()).image.tolist() == [[2.0]]


def test_images_of_a_convolution_are_tiles_by_example_and_channel():
    x = RNG.normal(size=(2, 5, 4, 3))
    tiles = tiled(x, (1, 2, 3, 0))
    assert tiles.image.shape == (5 + 1 + 5, 4 + 1 + 4 + 1 + 4)
    np.testing.assert_array_equal(tiles.image[6:, 5:9], x[1, :, :, 1])
    assert np.isnan(tiles.image[5]).all()
    assert np.isnan(tiles.image[:, [4, 9]]).all()
    assert not tiles.lost.any()  # a frame is no NaN
    assert tiles.marked == (6 + 2, 3)
    assert tiles.labels == ("tiles: axis 0; within: axis 1", "tiles: axis 3; within: axis 2")
    assert labels(tiles) == [["0", "1"], ["0", "1", "2"]]


def test_frames_are_wider_farther_out():
    a = RNG.normal(size=(2, 1, 4, 3, 2))
    tiles = tiled(a)
    assert tiles.image.shape == (4 + 1 + 4 + 2 + 4 + 1 + 4, 3)
    np.testing.assert_array_equal(tiles.image[16:], a[1, 0, :, :, 1])
    assert labels(tiles)[0] == ["0, 0", "0, 1", "1, 0", "1, 1"]


def test_of_many_tiles_those_around_the_worst_entry():
    a = RNG.normal(size=(40, 5, 5))
    tiles = tiled(a, (30, 1, 2))
    assert tiles.image.shape == (6 * 5 + 5, 5)
    assert labels(tiles)[0] == ["27", "28", "29", "30", "31", "32"]
    assert tiles.labels[0] == "tiles: axis 0 (6 of 40); within: axis 1"
    assert tiles.image[tiles.marked] == a[30, 1, 2]


@pytest.mark.parametrize(
    ("shape", "inside"), [((64, 28, 28, 3), (1, 2)), ((3, 3, 2, 4), (0, 1)), ((2, 7, 2), (1, 2)), ((40, 5, 5), (1, 2))]
)
def test_the_axes_of_a_tile(shape, inside):
    assert tuple(int(label[-1]) for label in tiled(np.zeros(shape)).labels) == inside


def test_not_finite_entries_are_told_from_frames():
    a = RNG.normal(size=(2, 3, 3))
    a[1, 0, 2] = np.inf
    a[0, 1, 1] = np.nan
    lost = tiled(a).lost
    assert lost.sum() == 2


def report_of(ours, theirs, **more):
    entries = Entries(ours, theirs, ~(np.abs(ours - theirs) <= 1e-6), 1e-6)
    failure = Failure.of_entries("R", "x", "", "differs", entries, **more)
    return Report("f", "x f32[4,3]", "a reference", (), (failure,), (), (), {})


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws a report; the figure, and its panels in order."""
    figures = []
    figure = pytest.importorskip("matplotlib.figure").Figure
    monkeypatch.setattr(figure, "savefig", lambda self, *args, **kwargs: figures.append(self))

    def draw(report):
        plotting.plot(report, tmp_path / "wrong.png")
        rows = figures[-1].subfigs
        return figures[-1], [[axes for axes in row.axes if axes.images] for row in rows]

    return draw


def test_panels_show_rule_reference_and_error(drawn):
    theirs = X.astype(float)
    figure, [[rule, reference, error]] = drawn(report_of(theirs / 4, theirs))
    for panel, values in ((rule, theirs / 4), (reference, theirs), (error, theirs / 4 - theirs)):
        np.testing.assert_array_equal(panel.images[0].get_array(), values)
    assert rule.images[0].get_clim() == reference.images[0].get_clim() == (-abs(theirs).max(), abs(theirs).max())
    assert error.get_title() == "rule - reference: 12 of 12 wrong"
    assert figure.subfigs[0].get_suptitle() == "R reference: the cotangent of x differs"
    assert "f(x f32[4,3]): wrong" in figure.get_suptitle()
    assert (rule.get_xlabel(), rule.get_ylabel()) == ("axis 1", "axis 0")


def test_each_has_its_own_scale_where_one_would_hide_the_other(drawn):
    _, [[rule, reference, _]] = drawn(report_of(1e6 * X.astype(float), X.astype(float)))
    assert rule.images[0].get_clim()[1] == pytest.approx(1e6 * reference.images[0].get_clim()[1])
    assert reference.get_title() == "reference, another scale"


def test_rounding_is_not_drawn_where_only_nan_is_wrong(drawn):
    ours = X + 1e-9
    ours[1, 2] = np.nan
    _, [[rule, _, error]] = drawn(report_of(ours, X.astype(float)))
    assert error.images[0].get_clim()[1] > 1e-3
    assert error.get_title().endswith("1 of 12 wrong, 1 not finite")
    assert (~rule.images[1].get_array().mask).sum() == 1  # painted black
    assert [patch.get_edgecolor()[1] for patch in rule.patches] == [1.0]


def test_the_worse_part_of_complex_numbers(drawn):
    theirs = X + 0j
    figure, [[rule, _, _]] = drawn(report_of(theirs + 0.5j, theirs))
    assert (rule.images[0].get_array() == 0.5).all()
    assert "imaginary part" in figure.subfigs[0].get_suptitle()


def test_a_row_for_each_wrong_cotangent(drawn):
    f = jax.custom_vjp(lambda x, k: x @ k)
    f.defvjp(lambda x, k: (x @ k, (x, k)), lambda kept, g: (-g @ kept[1].T, kept[0].T @ g * 2))
    report = fnnet.check(f, X, KERNEL, checks="RF")
    figure, rows = drawn(report)
    assert len(rows) == len(plotting.drawn_failures(report)) == 2
    assert "x has the opposite sign" in figure.subfigs[0].get_suptitle()
    assert "k is the reference times 2" in figure.subfigs[1].get_suptitle()


def test_pixels_of_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib import colormaps, image

    theirs = np.ones((2, 2))
    ours = np.array([[1.0, -1.0], [np.nan, 1.0]])
    report_of(ours, theirs).plot(tmp_path / "wrong.png")
    pixels = image.imread(tmp_path / "wrong.png")[..., :3]
    left = pixels[:, : pixels.shape[1] // 3]
    ends = [colormaps["RdBu_r"](end)[:3] for end in (1.0, 0.0)]
    red, blue, black = ((abs(left - np.array(colour)) < 1 / 200).all(-1).sum() for colour in (*ends, (0, 0, 0)))
    assert red > 1.8 * blue > 1000  # two entries to one
    assert black > 0.9 * blue


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="no wrong cotangent to show"):
        Report("f", "x f32[2]", "a reference", (), (), (), (), {}).plot(tmp_path / "nothing.png")
