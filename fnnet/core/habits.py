"""Hints for calls in another library's style: the error names the argument that was meant."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from fnnet.core.suggestions import did_you_mean

P = ParamSpec("P")
T = TypeVar("T")

# Other libraries' names of an argument, under its names here. A hint gives the first of these that the function has.
THEIRS = {
    ("stride",): ("strides", "window_strides", "subsample"),
    ("window",): ("kernel_size", "pool_size", "filter_size", "kernel_shape", "window_shape", "window_dimensions"),
    ("features", "hidden"): (
        *("filters", "out_channels", "out_features", "units", "output_dim", "output_size", "n_out", "embed_dim"),
        *("embedding_dim", "hidden_size", "hidden_dim", "hidden_features", "size"),
    ),
    ("vocabulary",): ("num_embeddings", "vocab_size", "input_dim"),
    ("bias",): ("use_bias", "with_bias", "b"),
    ("scale",): ("use_scale", "elementwise_affine", "gamma", "weight"),
    ("kernel_init", "embedding_init"): ("kernel_initializer", "w_init", "weight_init", "embeddings_initializer"),
    ("bias_init",): ("bias_initializer", "b_init"),
    ("dilation",): ("dilation_rate", "dilations", "kernel_dilation", "rhs_dilation"),
    ("groups",): ("feature_group_count", "num_groups"),
    ("count_padding",): ("count_include_pad",),
    ("divisor",): ("divisor_override",),
    ("epsilon",): ("eps",),
    ("slope", "alpha"): ("negative_slope", "alpha", "slope"),
    ("rate",): ("p", "drop_rate", "dropout", "dropout_rate"),
    ("class_weights", "kernel"): ("weight", "weights", "class_weight"),
    ("positive_weights",): ("pos_weight",),
    ("x", "z", "xs", "data"): ("input", "inputs", "x", "X", "dataset", "train_data"),
    ("labels", "targets", "target", "data"): ("target", "targets", "y_true", "y", "label"),
    ("logits", "prediction", "probabilities"): ("input", "y_pred", "predictions", "preds"),
    ("causal",): ("is_causal",),
    ("mask",): ("attn_mask",),
    ("heads",): ("num_heads", "n_heads"),
    ("key_heads",): ("num_kv_heads",),
    ("axis", "axes"): ("dim", "dims", "axis", "axes"),
    ("validation",): ("validation_data", "valid_data", "val_data", "eval_set"),
    ("progress",): ("verbose",),
    ("callback",): ("callbacks",),
    ("epochs",): ("num_epochs", "n_epochs", "max_epochs", "nb_epoch"),
    ("net",): ("model", "network"),
    ("loss",): ("loss_fn", "loss_function", "criterion"),
    ("optimizer",): ("optimiser", "optim", "tx"),
    ("sample_weight",): ("sample_weights",),
    ("metrics",): ("metric", "scoring"),
    ("key",): ("rng", "rngs", "seed", "random_state", "generator"),
    ("times",): ("num_layers", "n_layers", "num_blocks"),
}
# What to write instead of an argument that does not exist here.
INSTEAD = {
    **dict.fromkeys(
        ("in_channels", "in_features", "in_dim", "input_dim", "input_size", "num_inputs"),
        "init finds the size of the input",
    ),
    **dict.fromkeys(("data_format", "dimension_numbers"), "channels are last"),
    **dict.fromkeys(("training", "train", "deterministic"), "a key switches dropout on, and none switches it off"),
    **dict.fromkeys(("lr", "learning_rate"), "the optimiser has it, as in optax.adam(1e-3)"),
    "input_shape": "init(key, shape) takes it",
    "activation": "write it after the layer, as in Sequential(layer, fnnet.relu)",
    "from_logits": "softmax_cross_entropy takes logits, cross_entropy takes probabilities",
    "reduction": "each example has its own loss, of which fnnet.mean_loss is the mean",
    "shuffle": "arrays are shuffled in each epoch, and an iterable keeps its order",
    "validation_split": "give held-out examples as validation=(xs, ys)",
    "batch_first": "an example has its length first, and jax.vmap adds the batch in front",
}

# Other libraries' names of public functions and layers.
NAMES = {
    **dict.fromkeys(("Linear", "FullyConnected"), "Dense"),
    **{f"Conv{n}{d}": "Conv" for n in (1, 2, 3) for d in "dD"},
    **{f"ConvTranspose{n}d": "ConvTranspose" for n in (1, 2, 3)} | {"Conv2DTranspose": "ConvTranspose"},
    **{f"MaxPool{n}d": "MaxPool" for n in (1, 2, 3)} | {"MaxPooling2D": "MaxPool", "MaxPool2D": "MaxPool"},
    **{f"AvgPool{n}d": "AvgPool" for n in (1, 2, 3)} | {"AveragePooling2D": "AvgPool", "AvgPool2D": "AvgPool"},
    **{f"BatchNorm{n}d": "BatchNorm" for n in (1, 2, 3)} | {"BatchNormalization": "BatchNorm"},
    **dict.fromkeys(("GlobalAveragePooling2D", "AdaptiveAvgPool2d"), "GlobalAvgPool"),
    **dict.fromkeys(("MultiheadAttention", "MultiHeadAttention"), "Attention"),
    **{name: name.lower() for name in ("ReLU", "GELU", "SiLU", "ELU", "Sigmoid", "Tanh", "Softmax", "Softplus")},
    **{"LeakyReLU": "leaky_relu", "LogSoftmax": "log_softmax", "swish": "silu", "LayerNormalization": "LayerNorm"},
    **dict.fromkeys(("CrossEntropyLoss", "SparseCategoricalCrossentropy"), "softmax_cross_entropy"),
    **dict.fromkeys(("BCEWithLogitsLoss", "BinaryCrossentropy"), "sigmoid_binary_cross_entropy"),
    **{"MSELoss": "squared_error", "MeanSquaredError": "squared_error", "NLLLoss": "negative_log_likelihood"},
    **dict.fromkeys(("train", "Trainer", "compile"), "fit"),
}


def no_such_name(module: str, name: str, names: Iterable[str]) -> AttributeError:
    """The error for a public name that does not exist."""
    close = f"; did you mean {module}.{NAMES[name]}?" if name in NAMES else ""
    if not close and not name.startswith("_"):
        found = difflib.get_close_matches(name, list(names), 1, 0.7)
        close = f"; did you mean {module}.{found[0]}?" if found else ""
    return AttributeError(f"module {module!r} has no attribute {name!r}{close}")


def hinted(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: a call whose arguments do not fit the function's raises a TypeError that says what to write."""

    @functools.wraps(function)
    def call(*args: P.args, **keywords: P.kwargs) -> T:
        try:
            return function(*args, **keywords)
        except TypeError:
            misfit = misfit_of(function.__name__, inspect.signature(function).parameters, args, keywords)
            if misfit is None:
                raise  # it comes from inside the function
        raise misfit  # outside of `except`, so that the first error is not shown beside it

    return call


def misfit_of(
    name: str,
    parameters: Mapping[str, inspect.Parameter],
    args: Sequence[Any],
    keywords: Mapping[str, Any],
    *,
    whole: bool = True,
) -> TypeError | None:
    """The error where a call of `name` has unknown or too many arguments, or, of a whole call, lacks some."""
    by_place = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    kinds = {p.kind for p in parameters.values()}
    unknown = [one for one in keywords if one not in by_place + by_name]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        taken = {*by_place[: len(args)], *keywords}
        return TypeError(f"{name}: there is no argument {unknown[0]}{_meant(unknown[0], [*by_place, *by_name], taken)}")
    if len(args) > len(by_place) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        return TypeError(
            f"{name}: got {len(args)} arguments by position, and takes {', '.join(by_place) or 'none'}"
            f"{_rest(by_place, by_name)}"
        )
    lacking = [one for one in [*by_place[len(args) :], *by_name] if parameters[one].default is inspect.Parameter.empty]
    lacking = [one for one in lacking if one not in keywords]
    if lacking and whole:
        such = "; any integer will do, such as key=0" if lacking == ["key"] and "data" in parameters else ""
        return TypeError(f"{name}: {' and '.join(lacking)} must be given{such}")
    return None


def _meant(name: str, names: Sequence[str], taken: set[str]) -> str:
    here = [one for ours, theirs in THEIRS.items() if name in theirs for one in ours if one in names]
    if here:
        meant = next((one for one in here if one not in taken), here[0])
        return f"; did you mean {meant}{', the pair (xs, ys)' * (meant == 'data')}?"
    if name in INSTEAD:
        return f"; {INSTEAD[name]}"
    return did_you_mean(name, names)


def _rest(by_place: Sequence[str], by_name: Sequence[str]) -> str:
    if "data" in by_place:
        return "; data is the pair (xs, ys)"
    size = "; init finds the size of the input" if "features" in by_place else ""
    named = [one for one in by_name if one != "out_sharding" and not one.endswith("_init")]
    return f"{size}; give others by name: {', '.join(named)}" if named else size
