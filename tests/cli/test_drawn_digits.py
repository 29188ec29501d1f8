"""A network of MNIST reads digits that were drawn and typed: `FNNET_MNIST=DIRECTORY pytest -m slow` trains one."""

import os

import jax
import pytest
from paper import PAPERS, drawn, saved, typed

from fnnet.cli.command import main

MNIST = os.environ.get("FNNET_MNIST")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(MNIST is None, reason="FNNET_MNIST names no directory of MNIST")]
SANS, SERIF = ("DejaVuSans", "DejaVuSans-Bold", "cmss10", "cmtt10"), ("DejaVuSerif", "STIXGeneral", "STIXGeneralBolIta")
PENS = {
    "thin": {"stroke": 6},
    "thick": {"stroke": 110},
    "small, in a corner": {"stroke": 14, "box": (0.03, 0.62, 0.3, 0.97)},
    "usual": {},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("mnist") / "run"
    with jax.numpy_dtype_promotion("standard"):
        assert main(["train", "--data", str(MNIST), "--net", "cnn", "--epochs", "2", "--output", str(directory)]) == 0
    return directory


def read(run, images, folder, capsys):
    """How many of the images {name: (digit, image)} are answered rightly, and which are not."""
    files = {name: saved(image, folder / f"{place}.png") for place, (name, (_, image)) in enumerate(images.items())}
    capsys.readouterr()
    assert main(["predict", str(run), *map(str, files.values())]) == 0
    answers = [line.rpartition(".png: ")[2][0] for line in capsys.readouterr().out.splitlines()]
    wrong = [f"{name}: {a}" for (name, (digit, _)), a in zip(images.items(), answers, strict=True) if a != digit]
    return len(images) - len(wrong), wrong


@pytest.mark.parametrize("paper", PAPERS)
def test_ten_digits_by_hand_on_each_paper(paper, run, tmp_path, capsys):
    pens = list(PENS.values())
    images = {
        digit: (digit, PAPERS[paper](drawn(digit, **pens[int(digit) % len(pens)]))) for digit in map(str, range(10))
    }
    right, wrong = read(run, images, tmp_path, capsys)
    assert right >= 9, wrong


@pytest.mark.parametrize("pen", PENS)
def test_ten_digits_by_each_pen(pen, run, tmp_path, capsys):
    images = {digit: (digit, PAPERS["black on white"](drawn(digit, **PENS[pen]))) for digit in map(str, range(10))}
    right, wrong = read(run, images, tmp_path, capsys)
    assert right >= 9, wrong


@pytest.mark.parametrize("font", SANS + SERIF)
def test_ten_typed_digits(font, run, tmp_path, capsys):
    images = {digit: (digit, PAPERS["black on white"](typed(digit, font))) for digit in map(str, range(10))}
    right, wrong = read(run, images, tmp_path, capsys)
    assert right >= 9, wrong
