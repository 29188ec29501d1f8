"""What people type at first, out of habit or by mistake, and the one line that answers it."""

import numpy as np
import pytest
from PIL import Image

import fnnet
from fnnet.cli.command import main
from fnnet.cli.commands import train

LINES = {
    # commands
    "": "required: COMMAND",
    "trian": "there is no command 'trian'; did you mean train?",
    "fit": "there is no command 'fit'; did you mean train?",
    "eval runs/a": "there is no command 'eval'; did you mean evaluate?",
    "test": "there is no command 'test'; did you mean evaluate?",
    "infer a.png": "did you mean predict?",
    "generate": "did you mean sample?",
    "convert runs/a": "did you mean export?",
    "resume runs/a": "did you mean train --resume?",
    "gradcheck": "did you mean check?",
    # options of others
    "train -lr 0.1": "unknown argument -lr; did you mean --lr?",
    "train --rate 0.1": "did you mean --learning-rate?",
    "train --batch 32": "did you mean --batch-size?",
    "train --bs=32": "unknown argument --bs=32; did you mean --batch-size?",
    "train --batch_size 32": "did you mean --batch-size?",
    "train --Epochs 3": "did you mean --epochs?",
    "train -e 3": "did you mean --epochs?",
    "train --num-epochs 3": "did you mean --epochs?",
    "train --model resnet": "did you mean --net?",
    "train --arch resnet": "did you mean --net?",
    "train --dataset mnist": "did you mean --data?",
    "train --data-dir mnist": "did you mean --data?",
    "train --optim adam": "did you mean --optimizer?",
    "train --wd 0.1": "did you mean --weight-decay?",
    "train --early-stopping 3": "did you mean --patience?",
    "train --grad-clip 1": "did you mean --clip?",
    "train --scheduler cosine": "did you mean --schedule?",
    "train --val-split 0.1": "did you mean --held-out?",
    "train --img-size 64": "did you mean --image-size?",
    "train --out runs/a": "did you mean --output?",
    "train --ckpt runs/a": "did you mean --resume?",
    "train --amp": "did you mean --compute-dtype?",
    "train --gpus 2": "did you mean --devices?",
    "train --random-state 1": "did you mean --seed?",
    "train --gpu": "JAX takes an accelerator where it finds one",
    "train --device cuda": "JAX_PLATFORMS=cpu",
    "train --num-workers 4": "no processes load them",
    "train --momentum 0.9": "--optimizer momentum has a momentum of 0.9",
    "train --frobnicate": "unknown argument --frobnicate; fnnet train --help lists the options",
    "train digits": "unknown argument digits; did you mean --data digits?",
    "train mnist": "did you mean --data mnist?",
    "train resnet": "did you mean --net resnet?",
    "evaluate --model runs/a": "RUN needs no option: fnnet evaluate RUN",
    "predict runs/a --image a.png": "IMAGE.png needs no option: fnnet predict RUN IMAGE.png",
    "check conv --workers 2": "did you mean --jobs?",
    "sample runs/a --max-tokens 3": "did you mean --length?",
    # values
    "train --net Resnet": "there is no network 'Resnet'; did you mean resnet?",
    "train --net transformer": "there are lenet, cnn, mlp, resnet, gpt, lstm",
    "train --net mine.py": "'mine.py' must also name the network in the file, such as mine.py:net",
    "train --net nowhere:net": "network nowhere:net: there is no module nowhere, neither here nor installed",
    "train --net mine.py:nett": "has no 'nett'; did you mean net?",
    "train --net mine.py:ten": "is int; it must be a network, or a function that returns one",
    "train --net mine.py:of_size": "takes size; its arguments may be `classes` and `shape`",
    "train --net mine.py:of_three": "takes size; its arguments may be `classes` and `shape`",
    "train --net mine.py:by_position": "must give (10,) numbers, one for each class, not (11,)",
    "train --net mine.py:keyless": "train: net.apply must take apply(params, x, *, key=None), with a key in training",
    "train --net mine.py:broken": "raises ZeroDivisionError",
    "train --net mine.py:net": "must give (10,) numbers, one for each class, not (7,)",
    "train --net mine.py:of_tokens": "of an example (8, 8, 1) raises",
    "train --optimizer Adam": "did you mean adam?",
    "train --optimizer adam --weight-decay 0.1": "--optimizer adamw is adam with --weight-decay 0.1",
    "train --schedule cos": "there is no schedule 'cos'; did you mean cosine?",
    "train --lr 0": "'0' must be a positive number",
    "train --lr": "expected one argument",
    "train --epochs 1.5": "'1.5' must be a whole number of 1 or more",
    "train --label-smoothing 1": "'1' must be a number from 0, below 1",
    "train --warmup 100000": "--warmup 100000 must be less than the number of steps, 1760",
    "train --image-size large": "'large' must be a size such as 64, or height and width such as 64x48",
    "train --held-out 0": "'0' must be a number above 0 and below 1, such as 0.1",
    "train --held-out 0.3": "--held-out is for a folder or .npz file without a test part; leave it out for --data",
    "train --held-out 0.3 --data split.npz": "--held-out is for a folder or .npz file without a test part; leave it",
    "train --image-size 8 --data split.npz": "--image-size is for a folder of images; leave it out for --data split",
    "train --held-out 0.3 --data split": "--held-out is for a folder or .npz file without a test part; leave it",
    "train --image-size 8": "--image-size is for a folder of images; leave it out for --data digits",
    "train --net gpt --channels 1": "--channels is for images; leave it out for --data topics",
    "train --channels rgb": "'rgb' must be 1 for grey images, or 3 for colours",
    "train --net gpt --label-smoothing 0.1": "--label-smoothing is for images; a text has none",
    "train --augment rotate": "there is no change of images 'rotate'; there are shift, flip, crop",
    "train --augment flp": "there is no change of images 'flp'; did you mean flip?",
    "train --augment shift=half": "'shift=half' must be such as shift=2, in pixels",
    "train --augment crop=2": "'crop=2' must be such as crop=0.8, the smallest part of each side",
    "train --augment flip=2": "'flip=2' must be such as flip",
    "train --augment shift,flip": "would mirror the digits, and a mirrored digit is none; leave out flip",
    "train --net gpt --augment flip": "--augment changes images (height, width, channels)",
    "train --compute-dtype fp16": "there is no compute dtype 'fp16'",
    # data
    "train --data nowhere": "'nowhere' must be \"digits\" or a directory",
    "train --data mnist": "fnnet.data.fetch('mnist', directory) downloads it",
    "train --data empty": "must have two folders of images or more, one for each class",
    "train --data broken": "broken/a/1.png cannot be read as a PNG or JPEG image",
    "train --data other": "other/a/1.webp must be a PNG or JPEG file",
    "train --data nowhere.npz": "nowhere.npz: No such file or directory",
    "train --data text.npz": "text.npz cannot be read as a file of numpy.savez",
    "train --data strange.npz": "must have arrays x and y, or x_train, y_train, x_test and y_test; it has inputs",
    "train --data first.npz": "has its channels first; numpy.moveaxis(x, 1, -1) puts them last",
    "train --data table.npz": "--net mlp takes any shape",
    "train --data floats.npz": "labels of dtype float64 must be names, or whole numbers from 0",
    "train --data a.png": "a.png is no text; give images as a folder with a folder for each class, and tables",
    "train --data table.csv": "table.csv is no text",
    "evaluate run/checkpoints": "run run/checkpoints is not the directory of a run; did you mean run?",
    "train --resume run/config.json": "run run/config.json is not a directory; did you mean run?",
    "predict a.png run": "a.png is an image; the run comes first: fnnet predict RUN a.png",
    "train --resume nowhere": "run nowhere is not a directory",
    "train --resume nowhere --lr 0.1": "goes on with the run's own settings; leave out --learning-rate",
    "train --resume nowhere --warmup 0 --accumulate 1": "leave out --accumulate, --warmup",
    "train --resume nowhere --held-out 0.2 --compute-dtype float32": "leave out --compute-dtype, --held-out",
    "evaluate nowhere": "run nowhere is not a directory",
    "check mine.py:nett": "check: mine.py:nett: mine.py has no 'nett'; did you mean net?",
    "check package.part": "check: importing package.part raises AttributeError: not there",
}
NETWORKS = """
import fnnet

net = fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(7))
of_tokens = fnnet.Sequential(fnnet.Embedding(3, 4), fnnet.Flatten(), fnnet.Dense(10))
ten = 10

def of_size(size):
    return net

def of_three(classes, size, /, shape):
    return net

def by_position(more=1, classes=0, /, shape=(), *, width=0):
    return fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(classes + more + width))

class Keyless:
    def init(self, key, shape):
        return {}

    def apply(self, params, x):
        return x.ravel()[:10]

keyless = Keyless()

def broken(classes):
    return 1 / 0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's directory."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "mine.py").write_text(NETWORKS)
    for name in ("broken", "other"):
        for part in "ab":
            (folder / name / part).mkdir(parents=True)
            Image.new("L", (8, 8)).save(folder / name / part / "2.png")
    (folder / "broken" / "a" / "1.png").write_text("no image")
    (folder / "other" / "a" / "1.webp").write_text("another image")
    (folder / "empty").mkdir()
    (folder / "run" / "checkpoints").mkdir(parents=True)
    for file in ("run/config.json", "table.csv"):
        (folder / file).write_text("{}")
    Image.new("L", (8, 8)).save(folder / "a.png")
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").write_text("raise AttributeError('not there')")
    for name in ("train/a", "train/b", "test/a"):
        (folder / "split" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / "split" / name / "1.png")
    halves = {"x_train": np.zeros((4, 2)), "y_train": np.zeros(4, int), "x_test": np.zeros((4, 2))}
    np.savez(folder / "split.npz", **halves, y_test=np.zeros(4, int))
    (folder / "text.npz").write_text("no arrays")
    np.savez(folder / "strange.npz", inputs=np.zeros((4, 2)))
    np.savez(folder / "first.npz", x=np.zeros((4, 3, 8, 8)), y=np.zeros(4, int))
    np.savez(folder / "table.npz", x=np.zeros((40, 3)), y=np.arange(40) % 2)
    np.savez(folder / "floats.npz", x=np.zeros((4, 8, 8)), y=np.zeros(4))
    return folder


@pytest.mark.parametrize("line", LINES)
def test_the_answer_is_one_line(line, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = set(folder.iterdir())
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("fnnet: ")
    assert printed.err.count("\n") == 1
    assert LINES[line] in printed.err
    assert {path for path in folder.iterdir() if path.name != "__pycache__"} == before


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"fnnet {fnnet.__version__}, jax ")


def test_the_help_has_the_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for default in (
        "default: 40 for the digits, 8 with gpt, 20 with lstm, 10 otherwise",
        "default: 32 for the digits, 8 with gpt, 8 with lstm, 128 otherwise",
        "default: adamw",
        "default: 0.002 with adamw, 0.01 with momentum, 0.03 with sgd, 0.001 otherwise",
        "default: constant with sgd, cosine otherwise",
        "default: 0 with gpt, 0 with lstm, 0.1 otherwise",
    ):
        assert default in words


def test_what_is_typed_is_what_is_trained(monkeypatch):
    configs = []
    monkeypatch.setattr(train.runs, "train", lambda config, *_, **__: configs.append(config))
    line = "--lr 0.5 --optimizer sgd --schedule linear --warmup 3 --weight-decay 0 --clip 2 --label-smoothing 0"
    assert main(["train", *line.split(), "--patience=4", "--image-size=64x48", "--held-out=0.1"]) == 0
    (config,) = configs
    found = {name: config[name] for name in ("learning_rate", "schedule", "warmup", "weight_decay", "clip", "patience")}
    assert found == {
        "learning_rate": 0.5,
        "schedule": "linear",
        "warmup": 3,
        "weight_decay": 0.0,
        "clip": 2.0,
        "patience": 4,
    }
    assert (config["label_smoothing"], config["image_size"], config["held_out"]) == (0.0, [64, 48], 0.1)
