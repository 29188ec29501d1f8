"""Neural networks as pure functions, with backward passes written by hand, proved against autodiff, and faster than it."""

from fnnet.registration import rule as rule
from fnnet.rules.average_pooling import avg_pool as avg_pool
from fnnet.rules.convolution import conv as conv
from fnnet.rules.linear import dense as dense
from fnnet.rules.max_pooling import max_pool as max_pool

__version__ = "0.1.0"
