"""A trained network as one file, StableHLO with its weights, and that file run without the network's Python code."""

from fnnet.serving.exported import Exported, load
from fnnet.serving.exporting import export

__all__ = ["Exported", "export", "load"]
