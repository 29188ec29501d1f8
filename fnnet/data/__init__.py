"""Data sets: digits, MNIST's files and their downloads, folders of images, arrays, texts; changes of images."""

from fnnet.data.arrays import load_npz
from fnnet.data.augmentation import Augment
from fnnet.data.dataset import Dataset, digits, load
from fnnet.data.download import fetch
from fnnet.data.folder import load_folder
from fnnet.data.idx import read_idx
from fnnet.data.text import Text, Windows, text, windows

__all__ = [
    "Augment",
    "Dataset",
    "Text",
    "Windows",
    "digits",
    "fetch",
    "load",
    "load_folder",
    "load_npz",
    "read_idx",
    "text",
    "windows",
]
