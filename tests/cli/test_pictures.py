"""Pictures: they are written for every kind of run, and show what they say."""

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from fnnet.cli.runs import pictures

CLASSES = tuple("0123456789")


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved while a test runs."""
    kept = []
    savefig = matplotlib.figure.Figure.savefig

    def keep(figure, *args, **keywords):
        kept.append(figure)
        savefig(figure, *args, **keywords)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return kept


def whole(file):
    with Image.open(file) as image:
        image.load()
        return image.format == "PNG" and min(image.size) > 150


def record(epoch):
    values = {"validation_loss": 3 / epoch, "validation_accuracy": 1 - 0.5 / epoch}
    return {"epoch": epoch, "loss": 2.5 / epoch, **values, "seconds": 1.0}


@pytest.mark.parametrize("epochs", [1, 3, 60])
def test_curves(tmp_path, figures, epochs):
    pictures.curves(tmp_path / "a.png", [record(n) for n in range(1, epochs + 1)], title="a title")
    losses, errors = figures[0].axes
    training, held_out = losses.get_lines()
    np.testing.assert_allclose(training.get_ydata(), [2.5 / n for n in range(1, epochs + 1)])
    np.testing.assert_allclose(held_out.get_ydata(), [3 / n for n in range(1, epochs + 1)])
    np.testing.assert_allclose(errors.get_lines()[0].get_ydata(), [50 / n for n in range(1, epochs + 1)])
    assert errors.get_ylim()[0] == 0
    for axes in (losses, errors):
        ticks = [tick for tick in axes.get_xticks() if 0.5 < tick < epochs + 0.5]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)
    assert whole(tmp_path / "a.png")


def test_curves_without_held_out_data(tmp_path, figures):
    pictures.curves(tmp_path / "a.png", [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}])
    assert len(figures[0].axes[0].get_lines()) == 1
    assert whole(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.04, 2.1, [0.05, 0.1, 0.2, 0.5, 1, 2]),
        (3e-6, 0.9, [1e-5, 1e-4, 1e-3, 1e-2, 0.1]),
        (0.5, 2.1, [0.5, 0.7, 1, 2]),
        (0.53, 2.1, [0.6, 0.7, 0.8, 0.9, 1, 1.5, 2]),
        (0.51, 0.72, [0.55, 0.6, 0.65, 0.7]),
        (1.79, 1.93, [1.8, 1.82, 1.84, 1.86, 1.88, 1.9, 1.92]),
    ],
)
def test_ticks_of_a_logarithmic_axis(low, high, ticks):
    np.testing.assert_allclose(pictures.log_ticks(low, high), ticks)


def test_one_mistake_is_seen_beside_many(tmp_path, figures):
    labels = np.array([0] * 31 + [2, 3])
    pictures.confusion(tmp_path / "a.png", labels, np.array([1] * 30 + [0] + [4, 3]), CLASSES)
    image = figures[0].axes[0].images[0]
    assert image.norm(1) > 0.15
    assert np.ma.count(image.get_array()) == 2  # neither right answers nor zeros are coloured
    pictures.confusion(tmp_path / "a.png", labels[-2:], np.array([4, 3]), CLASSES)
    assert figures[1].axes[0].images[0].norm(1) < 0.5  # a single mistake is no alarm


def test_confusion_counts_labels_in_rows(tmp_path, figures):
    labels, predictions = np.array([0, 1, 1, 1, 2, 9]), np.array([0, 1, 7, 7, 2, 9])
    pictures.confusion(tmp_path / "a.png", labels, predictions, CLASSES)
    numbers = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in figures[0].axes[0].texts}
    assert numbers == {(0, 0): "1", (1, 1): "1", (1, 7): "2", (2, 2): "1", (9, 9): "1"}
    assert figures[0].get_suptitle() == "2 wrong answers to 6 held-out images"
    assert whole(tmp_path / "a.png")


def test_the_surest_mistake_comes_first(tmp_path, figures):
    images = np.random.default_rng(0).random((4, 8, 8, 1)).astype(np.float32)
    probabilities = np.full((4, 10), 0.01, np.float32)
    for example, (answer, chance) in enumerate([(3, 0.6), (4, 0.9), (5, 0.99), (6, 0.7)]):
        probabilities[example, answer] = chance
    pictures.surest_mistakes(tmp_path / "a.png", images, np.array([1, 2, 5, 0]), probabilities, CLASSES, most=2)
    shown = [axes for axes in figures[0].axes if axes.images]
    assert [axes.get_title() for axes in shown] == ["4 (90 %)\nlabel: 2", "6 (70 %)\nlabel: 0"]
    np.testing.assert_array_equal(shown[0].images[0].get_array(), images[1, ..., 0])
    assert figures[0].get_suptitle() == "3 wrong answers to held-out images, the surest 2"
    assert whole(tmp_path / "a.png")


def test_no_mistakes_at_all(tmp_path, figures):
    labels = np.arange(4)
    pictures.surest_mistakes(tmp_path / "a.png", np.zeros((4, 8, 8, 1), np.float32), labels, np.eye(4, 10), CLASSES)
    pictures.confusion(tmp_path / "b.png", labels, labels, CLASSES)
    assert figures[0].get_suptitle() == "No wrong answers to held-out images"
    assert whole(tmp_path / "a.png")
    assert whole(tmp_path / "b.png")


@pytest.mark.parametrize(
    ("kernel", "image", "tiles"),
    [((3, 3, 1, 5), (8, 8, 1), 5), ((3, 3, 3, 80), (8, 8, 3), 64), ((64, 12), (8, 8, 1), 12), ((64, 1), (8, 8, 1), 1)],
)
def test_kernels_have_zero_in_the_middle(tmp_path, figures, kernel, image, tiles):
    values = np.random.default_rng(0).normal(size=kernel).astype(np.float32)
    pictures.kernels(tmp_path / "a.png", values, image)
    (picture,) = figures[0].axes[0].images
    low, high = picture.get_clim()
    wanted = values.mean(2) if len(kernel) == 4 else values.reshape(8, 8, -1)
    wanted = wanted[..., :tiles]
    assert -low == high == np.abs(wanted).max()
    sheet = picture.get_array()
    edge = round(72 / len(wanted)) * len(wanted)
    np.testing.assert_array_equal(sheet[:edge, :edge][:: edge // len(wanted), :: edge // len(wanted)], wanted[..., 0])
    assert (~sheet.mask).sum() == tiles * edge**2
    assert whole(tmp_path / "a.png")


def test_a_kernel_of_zeros_is_no_error(tmp_path):
    pictures.kernels(tmp_path / "a.png", np.zeros((3, 3, 1, 2), np.float32), (8, 8, 1))
    assert whole(tmp_path / "a.png")
