"""Data sets: the digits of scikit-learn, directories of IDX files and where to download them, windows of a text."""

from fnnet.data.dataset import Dataset, digits, load
from fnnet.data.download import fetch
from fnnet.data.idx import read_idx
from fnnet.data.text import Text, Windows, text, windows

__all__ = ["Dataset", "Text", "Windows", "digits", "fetch", "load", "read_idx", "text", "windows"]
