"""Data sets: the digits of scikit-learn, directories of IDX files, and where to download them from."""

from fnnet.data.dataset import Dataset, digits, load
from fnnet.data.download import fetch
from fnnet.data.idx import read_idx

__all__ = ["Dataset", "digits", "fetch", "load", "read_idx"]
