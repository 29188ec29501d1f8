"""Neural networks as pure functions, with backward passes written by hand, proved against autodiff, and faster than it."""

from fnnet.registration import rule as rule
from fnnet.rules.linear import dense as dense

__version__ = "0.1.0"
