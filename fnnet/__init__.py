"""Neural networks as pure functions with hand-written backward passes, proved against autodiff, and faster than it."""

from fnnet import checking as checking
from fnnet import data as data
from fnnet import interop as interop
from fnnet.allocator import keep_memory as keep_memory
from fnnet.checking.checker import check as check
from fnnet.layers import AvgPool as AvgPool
from fnnet.layers import Conv as Conv
from fnnet.layers import Dense as Dense
from fnnet.layers import Dropout as Dropout
from fnnet.layers import Flatten as Flatten
from fnnet.layers import MaxPool as MaxPool
from fnnet.network import Residual as Residual
from fnnet.network import Sequential as Sequential
from fnnet.orbax_checkpoints import OrbaxCheckpoints as OrbaxCheckpoints
from fnnet.per_example import clipped_gradients as clipped_gradients
from fnnet.per_example import gradient_norms as gradient_norms
from fnnet.processes import ProcessLostError as ProcessLostError
from fnnet.reduction import mean_loss as mean_loss
from fnnet.registration import rule as rule
from fnnet.resumption import Checkpoints as Checkpoints
from fnnet.rules.activations import gelu as gelu
from fnnet.rules.activations import leaky_relu as leaky_relu
from fnnet.rules.activations import relu as relu
from fnnet.rules.activations import sigmoid as sigmoid
from fnnet.rules.activations import silu as silu
from fnnet.rules.activations import softplus as softplus
from fnnet.rules.activations import tanh as tanh
from fnnet.rules.average_pooling import avg_pool as avg_pool
from fnnet.rules.binary import binary_cross_entropy as binary_cross_entropy
from fnnet.rules.binary import sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy
from fnnet.rules.categorical import cross_entropy as cross_entropy
from fnnet.rules.categorical import negative_log_likelihood as negative_log_likelihood
from fnnet.rules.categorical import softmax_cross_entropy as softmax_cross_entropy
from fnnet.rules.convolution import conv as conv
from fnnet.rules.linear import dense as dense
from fnnet.rules.max_pooling import max_pool as max_pool
from fnnet.rules.max_pooling import max_pool_indices as max_pool_indices
from fnnet.rules.probabilities import log_softmax as log_softmax
from fnnet.rules.probabilities import softmax as softmax
from fnnet.rules.squares import squared_error as squared_error
from fnnet.tracing.tracer import trace as trace
from fnnet.training import NonFiniteLossError as NonFiniteLossError
from fnnet.training import evaluate as evaluate
from fnnet.training import fit as fit

__version__ = "0.1.0"
