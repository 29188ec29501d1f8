"""Data sets: digits, directories of IDX files and where to download them, windows of a text; changes of images."""

from fnnet.data.augmentation import Augment
from fnnet.data.dataset import Dataset, digits, load
from fnnet.data.download import fetch
from fnnet.data.idx import read_idx
from fnnet.data.text import Text, Windows, text, windows

__all__ = ["Augment", "Dataset", "Text", "Windows", "digits", "fetch", "load", "read_idx", "text", "windows"]
