"""Neural networks as pure functions with hand-written backward passes, proved against autodiff, and faster than it."""

import importlib as _importlib
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING as _TYPE_CHECKING

from fnnet import checking as checking
from fnnet import layers as layers
from fnnet.checking.checker import check as check
from fnnet.core.allocator import keep_memory as keep_memory
from fnnet.core.compiler import safe_options as safe_options
from fnnet.core.habits import no_such_name as _no_such_name
from fnnet.core.onednn import use_onednn as use_onednn
from fnnet.core.reduction import mean_loss as mean_loss
from fnnet.core.registration import rule as rule
from fnnet.layers.attention import Attention as Attention
from fnnet.layers.batch_norm import BatchNorm as BatchNorm
from fnnet.layers.convolution import Conv as Conv
from fnnet.layers.decay import decayed as decayed
from fnnet.layers.dense import Dense as Dense
from fnnet.layers.dropout import Dropout as Dropout
from fnnet.layers.embedding import Embedding as Embedding
from fnnet.layers.flatten import Flatten as Flatten
from fnnet.layers.generation import generate as generate
from fnnet.layers.normalisation import GroupNorm as GroupNorm
from fnnet.layers.normalisation import LayerNorm as LayerNorm
from fnnet.layers.normalisation import RMSNorm as RMSNorm
from fnnet.layers.padded import Padded as Padded
from fnnet.layers.pooling import AvgPool as AvgPool
from fnnet.layers.pooling import GlobalAvgPool as GlobalAvgPool
from fnnet.layers.pooling import GlobalMaxPool as GlobalMaxPool
from fnnet.layers.pooling import MaxPool as MaxPool
from fnnet.layers.recomputed import Recomputed as Recomputed
from fnnet.layers.recurrent import GRU as GRU
from fnnet.layers.recurrent import LSTM as LSTM
from fnnet.layers.repeat import Repeat as Repeat
from fnnet.layers.residual import Residual as Residual
from fnnet.layers.sequential import Sequential as Sequential
from fnnet.layers.tied import Tied as Tied
from fnnet.layers.transposed_convolution import ConvTranspose as ConvTranspose
from fnnet.rules.activations import elu as elu
from fnnet.rules.activations import gelu as gelu
from fnnet.rules.activations import leaky_relu as leaky_relu
from fnnet.rules.activations import relu as relu
from fnnet.rules.activations import sigmoid as sigmoid
from fnnet.rules.activations import silu as silu
from fnnet.rules.activations import softplus as softplus
from fnnet.rules.activations import tanh as tanh
from fnnet.rules.attention import attention as attention
from fnnet.rules.average_pooling import avg_pool as avg_pool
from fnnet.rules.batch_norm import batch_norm as batch_norm
from fnnet.rules.batch_norm import group_norm as group_norm
from fnnet.rules.binary_losses import binary_cross_entropy as binary_cross_entropy
from fnnet.rules.binary_losses import sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy
from fnnet.rules.class_losses import cross_entropy as cross_entropy
from fnnet.rules.class_losses import negative_log_likelihood as negative_log_likelihood
from fnnet.rules.class_losses import softmax_cross_entropy as softmax_cross_entropy
from fnnet.rules.convolution import conv as conv
from fnnet.rules.dense import dense as dense
from fnnet.rules.embedding import embedding as embedding
from fnnet.rules.gru import gru as gru
from fnnet.rules.layer_norm import layer_norm as layer_norm
from fnnet.rules.layer_norm import rms_norm as rms_norm
from fnnet.rules.linear_class_loss import linear_softmax_cross_entropy as linear_softmax_cross_entropy
from fnnet.rules.lstm import lstm as lstm
from fnnet.rules.max_pooling import max_pool as max_pool
from fnnet.rules.max_pooling import max_pool_indices as max_pool_indices
from fnnet.rules.rotary import rotary as rotary
from fnnet.rules.softmax import log_softmax as log_softmax
from fnnet.rules.softmax import softmax as softmax
from fnnet.rules.squared_error import squared_error as squared_error
from fnnet.rules.transposed_convolution import conv_transpose as conv_transpose
from fnnet.tracing.tracer import trace as trace
from fnnet.training.batch_statistics import batch_statistics as batch_statistics
from fnnet.training.evaluation import evaluate as evaluate
from fnnet.training.fitting import NonFiniteLossError as NonFiniteLossError
from fnnet.training.fitting import fit as fit
from fnnet.training.last_layer_loss import LinearSoftmaxCrossEntropy as LinearSoftmaxCrossEntropy
from fnnet.training.orbax_checkpoints import OrbaxCheckpoints as OrbaxCheckpoints
from fnnet.training.per_example import clipped_gradients as clipped_gradients
from fnnet.training.per_example import gradient_norms as gradient_norms
from fnnet.training.processes import ProcessLostError as ProcessLostError
from fnnet.training.resumption import Checkpoints as Checkpoints
from fnnet.training.training_warnings import TrainingWarning as TrainingWarning

if _TYPE_CHECKING:  # pragma: no cover
    from fnnet import data as data
    from fnnet import interop as interop
    from fnnet import proofs as proofs
    from fnnet import serving as serving

__version__ = "0.1.0"

_LATER = ("data", "interop", "proofs", "serving")  # imported when they are first asked for: `import fnnet` is quick

_PUBLIC = [name for name, value in list(globals().items()) if callable(value) and not name.startswith("_")]


def __getattr__(name: str) -> _ModuleType:
    if name in _LATER:
        return _importlib.import_module(f"fnnet.{name}")
    raise _no_such_name("fnnet", name, __dir__())


def __dir__() -> list[str]:
    """The public names and the public submodules; the other rooms are for those who change fnnet."""
    return [*_PUBLIC, "checking", "layers", *_LATER, "__doc__", "__version__"]
