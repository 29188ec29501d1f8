"""The fields of every layer: what a constructor refuses, it refuses in its own name."""

import dataclasses

import pytest

from fnnet import (
    GRU,
    LSTM,
    Attention,
    AvgPool,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Embedding,
    GroupNorm,
    LayerNorm,
    Padded,
    Repeat,
    relu,
)

WRONG = {"flag": "no", "number": True, "initialiser": 0}
FIELDS = [
    (Conv(3, 3), "number", ["features", "window", "stride", "padding", "dilation", "groups"]),
    (ConvTranspose(3, 3), "number", ["features", "window", "stride", "padding", "output_padding", "dilation"]),
    (AvgPool(2), "number", ["window", "stride", "padding", "dilation", "divisor"]),
    (Embedding(3, 2), "number", ["vocabulary", "features"]),
    (Attention(2), "number", ["heads", "key_heads"]),
    (GRU(2), "number", ["hidden"]),
    (GroupNorm(2), "number", ["groups", "epsilon"]),
    (Dropout(0.5), "number", ["rate"]),
    (Padded(Dense(2)), "number", ["index"]),
    (Repeat(relu, 2), "number", ["times"]),
    (Dense(3), "flag", ["bias"]),
    (AvgPool(2), "flag", ["count_padding", "ceil_mode"]),
    (Attention(2), "flag", ["causal", "rotary", "bias"]),
    (GRU(2), "flag", ["bias", "recurrent_bias", "reverse"]),
    (GroupNorm(2), "flag", ["scale", "bias"]),
    (Repeat(relu, 2), "flag", ["checkpoint"]),
    (Dense(3), "initialiser", ["kernel_init", "bias_init"]),
    (Conv(3, 3), "initialiser", ["kernel_init", "bias_init"]),
    (ConvTranspose(3, 3), "initialiser", ["kernel_init", "bias_init"]),
    (Embedding(3, 2), "initialiser", ["embedding_init"]),
    (Attention(2), "initialiser", ["kernel_init", "bias_init"]),
    (LSTM(2), "initialiser", ["kernel_init", "recurrent_init", "bias_init"]),
    (LayerNorm(), "initialiser", ["scale_init", "bias_init"]),
]


@pytest.mark.parametrize(("layer", "kind", "names"), FIELDS)
def test_a_constructor_takes_no_field_of_another_type(layer, kind, names):
    for name in names:
        with pytest.raises(
            (TypeError, ValueError), match=rf"^{type(layer).__name__}: {name} \(={WRONG[kind]!r}\) must"
        ):
            dataclasses.replace(layer, **{name: WRONG[kind]})


def test_an_initialiser_is_asked_for_by_name():
    message = r"^Dense: kernel_init \(='he'\) must be an initialiser of jax.nn.initializers, or None$"
    with pytest.raises(TypeError, match=message):
        dataclasses.replace(Dense(3), kernel_init="he")
