"""PyTorch's layout: kernels (out, in / groups, *window) and (out, in), images (channels, *image).

With rows as in `slots`, and a kernel's axes named by letters,

    convolution     W_tco = weight_oct          t the taps, c the channels of a group, o the outputs
    transposed      W_tco = weight_cot          with groups: the channels and the outputs of each
    dense           W_io  = weight_o,rows(i)
    attention       W_io  = in_proj_weight_oi      query's outputs o first, then key's, then value's
    norms           s_i   = weight_rows(i)      of a flattened image; else the same

which permutes entries: so gradients are carried by the same functions as the weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.interop.matching import Library, Names, held, matched
from fnnet.interop.pieces import assembled, spread
from fnnet.interop.slots import Slot, slots
from fnnet.rules.transposed_convolution import exchanged

TORCH = Library("torch", ".", outputs_first=True, ordered=True)
COUNTER = "num_batches_tracked"  # of a batch norm: no parameter, and nothing in fnnet


def from_torch(
    net: Any, shape: Sequence[int], state_dict: Mapping[str, Any], *, names: Names | None = None
) -> dict[str, Any]:
    """A network's parameters from a PyTorch model's, or its gradients from the model's.

    Args:
        net: A network of the model's layers.
        shape: Of one example, channels last.
        state_dict: Arrays or tensors by name, "features.0.weight": `model.state_dict()`, or its gradients
            `{name: p.grad for name, p in model.named_parameters()}`. Of a batch norm the running statistics belong to
            it; its count of batches is left out.
        names: The module of each layer: {"conv_0": "features.0", "residual_2/conv_0": "block.first"}; of an attention
            whose products are four modules, a dictionary of these. None: the model's modules of each kind,
            convolutions for one, are the network's, in the order of their definition.

    Returns:
        Copies, as `net.init` makes them, in the dtypes given (f64 only in JAX's 64-bit mode). The kernel of the dense
        layer after a flatten is permuted, since PyTorch flattens channels first.

    Raises:
        ValueError: Entries are missing, unexpected or of a wrong shape, all of which are listed; or the order in which
            a flattened image is used cannot be told.
        TypeError: An entry is not floating, or a layer with parameters has no `layout`.
    """
    found = _slots("from_torch", net, shape)
    arrays = {name: _as_numpy(name, value) for name, value in state_dict.items() if not name.endswith(COUNTER)}
    shapes = {name: array.shape for name, array in arrays.items()}
    pieces = matched("from_torch", "state_dict", TORCH, found, shapes, names)
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"from_torch: {name} of dtype {array.dtype} must have a floating dtype")
    return assembled(pieces, lambda piece: jnp.array(_from(arrays[piece.name], piece.slot, piece.entry)))


def to_torch(
    net: Any,
    shape: Sequence[int],
    params: Mapping[str, Any],
    state_dict: Mapping[str, Any],
    *,
    names: Names | None = None,
) -> dict[str, Any]:
    """The way back: what `model.load_state_dict` takes.

    Args:
        net: As for `from_torch`, like `shape` and `names`.
        shape: Of one example, channels last.
        params: Of the network, or gradients.
        state_dict: The model's, for its names, dtypes and devices; its values are not read.
        names: The module of each layer.

    Returns:
        Copies under the names of `state_dict`: tensors where it has tensors, else NumPy arrays; a batch norm's count
        of batches as it is.

    Raises:
        ValueError: As from `from_torch`, for `params` and for `state_dict`.
        TypeError: A layer with parameters has no `layout`.
    """
    found = _slots("to_torch", net, shape)
    own = held("to_torch", found, params)
    shapes = {name: tuple(value.shape) for name, value in state_dict.items() if not name.endswith(COUNTER)}
    pieces = matched("to_torch", "state_dict", TORCH, found, shapes, names)
    own = {place: np.asarray(array) for place, array in own.items()}
    wholes = spread(pieces, own).items()
    moved = {name: _to(whole, piece.slot, piece.entry) for name, (piece, whole) in wholes}
    return {name: _alike(moved[name], value) if name in moved else value for name, value in state_dict.items()}


def _slots(function: str, net: Any, shape: Sequence[int]) -> list[Slot]:
    found, doubts = slots(function, net, shape)
    if doubts:
        raise ValueError(f"{function}: PyTorch flattens channels first, and {'; '.join(doubts)}")
    return found


def _from(weight: np.ndarray, slot: Slot, entry: str) -> np.ndarray:
    if not entry.endswith("kernel"):
        return weight[slot.rows] if slot.layout.elementwise and slot.rows is not None else weight
    kernel = np.transpose(weight, (*range(2, weight.ndim), 1, 0))
    if slot.layout.groups:
        kernel = exchanged(kernel, slot.layout.groups)
    return kernel if slot.rows is None else kernel[slot.rows]


def _to(kernel: np.ndarray, slot: Slot, entry: str) -> np.ndarray:
    if not entry.endswith("kernel"):
        return kernel[np.argsort(slot.rows)] if slot.layout.elementwise and slot.rows is not None else kernel
    if slot.layout.groups:
        kernel = exchanged(kernel, slot.layout.groups)
    if slot.rows is not None:
        kernel = kernel[np.argsort(slot.rows)]
    return np.transpose(kernel, (kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2)))


def _as_numpy(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy's bfloat16 is JAX's, which PyTorch does not know
            return value.float().numpy().astype(jnp.bfloat16)
        return value.numpy()
    if value is None:
        raise TypeError(f"from_torch: {name} must be an array, not None: a parameter without a gradient?")
    return np.asarray(value)


def _alike(array: np.ndarray, value: Any) -> Any:
    """A copy of the array, of the kind and dtype of `value`."""
    if not hasattr(value, "new_tensor"):
        return np.array(array, np.asarray(value).dtype)
    known = array.dtype in (np.float16, np.float32, np.float64)
    return value.new_tensor(np.array(array, array.dtype if known else np.float32))
