"""Convolution's formulations: that all of them are the same function, and which one is compiled where."""

import functools
import inspect
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from sampled import one_in

import fnnet
from fnnet.checking.contract import compare
from fnnet.core.geometry import window
from fnnet.formulations import (
    bands,
    canonical,
    convolution,
    patches,
    phases,
    pieces,
    split_taps,
    sums,
    winograd,
)
from fnnet.rules import convolution as rule_page

RNG = np.random.default_rng(5)
PARTS = ("output", "x_gradient", "kernel_gradient")
plain = SimpleNamespace(**{part: inspect.unwrap(getattr(rule_page, part)) for part in PARTS})  # as on the rule's page
SHAPES = {  # image, kernel, groups
    "dense": ((8, 6, 5, 24), (3, 3, 24, 20), 1),
    "few taps": ((8, 6, 5, 1), (3, 3, 1, 32), 1),
    "groups": ((8, 6, 5, 24), (3, 3, 6, 20), 4),
    "depthwise": ((8, 6, 5, 24), (3, 3, 1, 24), 24),
    "wide": ((24, 9, 10, 32), (3, 3, 32, 64), 1),
}


@pytest.fixture(params=one_in(2, ["one", "several"]))
def devices(request, monkeypatch):
    """As on one device, and, slow, where several may share the batch, as in all other tests."""
    if request.param == "one":
        monkeypatch.setattr(pieces, "sharers", lambda: 1)


LARGE = {  # image, kernel, groups
    "few taps": ((64, 32, 32, 1), (3, 3, 1, 32), 1),
    "depthwise": ((32, 32, 32, 64), (3, 3, 1, 64), 64),
    "groups": ((32, 16, 16, 64), (3, 3, 16, 64), 4),
    "wide": ((48, 28, 27, 32), (3, 3, 32, 64), 1),
    "few outputs": ((64, 28, 28, 1), (5, 5, 1, 6), 1),
    "few channels": ((64, 14, 14, 6), (5, 5, 6, 16), 1),
    "few channels, wide": ((64, 14, 23, 6), (5, 5, 6, 16), 1),
    "many examples": ((160, 8, 7, 6), (4, 3, 6, 8), 1),
    "one tap": ((24, 9, 10, 24), (1, 1, 24, 40), 1),
    "few weights": ((48, 28, 27, 32), (3, 3, 32, 24), 1),
}


def both(page, name, args, place):
    """A piece of the convolution by this form and by the rule's page, in one program."""
    run = functools.partial(getattr(page, name), window=place)
    return jax.jit(lambda *args: (run(*args), getattr(plain, name)(*args, window=place, groups=1)))(*args)


SPECIAL = {
    sums: ["output"],
    bands: ["x_gradient"],
    patches: ["x_gradient", "kernel_gradient"],
    phases: ["x_gradient"],
    split_taps: ["kernel_gradient"],
    winograd: list(PARTS),
}


@pytest.mark.parametrize("page", SPECIAL, ids=lambda page: page.__name__.rpartition(".")[-1])
@pytest.mark.parametrize("index", one_in(3, range(6)))
def test_special_forms_are_the_same_function(index, page, devices, x64):
    draw = np.random.default_rng(index)
    height, width, channels, outputs = draw.integers([3, 3, 1, 1], [12, 12, 4, 4]).tolist()
    size, (stride, dilation) = draw.integers(1, 4, 2).tolist(), draw.integers(1, 3, 2).tolist()
    if page is winograd:
        size, stride, dilation = [3, 3], 1, 1
    if page in (phases, split_taps):
        stride, dilation = stride if page is phases else 1, 1
    padding = draw.integers(0, 3, (2, 2)).tolist()
    if any(n + sum(p) < dilation * (k - 1) + 1 for n, p, k in zip((height, width), padding, size, strict=True)):
        padding = [(dilation * (k - 1),) * 2 for k in size]
    x = draw.normal(size=(int(draw.choice([1, 7, 16, 24])), height, width, channels))
    kernel = draw.normal(size=(*size, channels, outputs))
    place = window("conv", x.shape, size, stride=stride, dilation=dilation, padding=padding)
    g = draw.normal(size=(len(x), *place.out, outputs))
    for name in SPECIAL[page]:
        args = {"output": (x, kernel), "x_gradient": (kernel, g), "kernel_gradient": (x, g)}[name]
        ours, theirs = both(page, name, args, place)
        assert not compare(name, ours, theirs, 1e-12)


@pytest.mark.parametrize("rank", [1, 3])
def test_bands_along_the_last_of_any_axes(rank, x64):
    image, size, stride, dilation = (4, 7, 9)[-rank:], (3, 1, 4)[-rank:], (1, 1, 2)[-rank:], (1, 2, 2)[-rank:]
    place = window("conv", (5, *image, 3), size, stride=stride, dilation=dilation, padding="SAME")
    kernel, g = RNG.normal(size=(*size, 3, 2)), RNG.normal(size=(5, *place.out, 2))
    ours, theirs = both(bands, "x_gradient", (kernel, g), place)
    assert not compare("x_gradient", ours, theirs, 1e-12)


@pytest.mark.parametrize("rank", [1, 3])
def test_phases_of_any_axes(rank, x64):
    """Also where no window sees the image's end, and where a window is smaller than the stride."""
    image, size, stride, padding = (6, 8, 9)[-rank:], (5, 2, 4)[-rank:], (3, 3, 2)[-rank:], [(2, 4), (0, 1), (3, 0)]
    place = window("conv", (4, *image, 3), size, stride=stride, dilation=1, padding=padding[-rank:])
    kernel, g = RNG.normal(size=(*size, 3, 2)), RNG.normal(size=(4, *place.out, 2))
    ours, theirs = both(phases, "x_gradient", (kernel, g), place)
    assert not compare("x_gradient", ours, theirs, 1e-12)


@pytest.mark.parametrize(("examples", "outputs"), [(0, 16), (3, 0)])
def test_with_a_stride_no_examples_or_no_outputs(examples, outputs):
    x, kernel = jnp.ones((examples, 8, 8, 16)), jnp.ones((3, 3, 16, outputs))
    x_bar, kernel_bar = jax.grad(lambda x, k: fnnet.conv(x, k, stride=2).sum(), (0, 1))(x, kernel)
    assert (x_bar.shape, kernel_bar.shape) == (x.shape, kernel.shape)
    assert not x_bar.any()
    assert not kernel_bar.any()


def test_split_taps_in_pieces(devices, monkeypatch, x64):
    monkeypatch.setattr(split_taps, "ROWS", 300)
    monkeypatch.setattr(split_taps, "LEAST_ROWS", 1)
    monkeypatch.setattr(split_taps, "LEAST_COLUMNS", 5)  # on one device: a batch of two products
    x, g = (RNG.normal(size=size) for size in ((48, 5, 6, 3), (48, 5, 6, 2)))
    place = window("conv", x.shape, (3, 3), stride=1, dilation=1, padding="SAME")
    ours, theirs = both(split_taps, "kernel_gradient", (x, g), place)
    assert not compare("kernel_gradient", ours, theirs, 1e-12)
    text = jax.jit(functools.partial(split_taps.kernel_gradient, window=place)).lower(x, g).as_text()
    assert "stablehlo.while" in text
    batch = 2 if pieces.sharers() == 1 else 1
    assert re.findall(r"dot_general.*: \(tensor<(\d+)x\d+x9xf64>", text) == [str(batch)]


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("channels", "outputs", "size", "stride", "form"),
    [
        (16, 16, 3, 1, "product"),
        (32, 32, 3, 1, "product"),
        (3, 16, 3, 1, "product"),
        (16, 48, 3, 1, "convolution"),
        (16, 16, 5, 1, "convolution"),
        (16, 16, 3, 2, "convolution"),
    ],
)
def test_which_kernel_gradients_are_products(channels, outputs, size, stride, form):
    x = jnp.zeros((16, 12, 12, channels))
    place = window("conv", x.shape, (size, size), stride=stride, dilation=1, padding="SAME")
    run = functools.partial(convolution.kernel_gradient, window=place, groups=1)
    text = jax.jit(run).lower(x, jnp.zeros((16, *place.out, outputs))).as_text()
    assert {"product": "dot_general", "convolution": "stablehlo.convolution"}[form] in text
    assert {"product": "stablehlo.convolution", "convolution": "dot_general"}[form] not in text


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("channels", "size", "stride", "is_dense"), [(16, 3, 2, True), (64, 3, 2, False), (64, 4, 2, True)]
)
def test_with_a_stride_the_gradient_of_few_channels_multiplies_no_zeros(channels, size, stride, is_dense):
    kernel = jnp.zeros((size, size, channels, 16))
    place = window("conv", (4, 12, 12, channels), (size, size), stride=stride, dilation=1, padding="SAME")
    run = functools.partial(convolution.x_gradient, window=place, groups=1)
    text = jax.jit(run).lower(kernel, jnp.zeros((4, *place.out, 16))).as_text()
    (image,) = re.findall(r"stablehlo.convolution.*: \(tensor<4x(\d+)x", text)
    assert (int(image) == place.out[0]) == is_dense


@pytest.mark.cpu
@pytest.mark.parametrize(
    "shape", one_in(2, ["few taps", "few outputs", "few channels", "depthwise", "wide", "few weights"])
)
def test_exported_for_any_batch(shape):
    image, kernel, groups = (SHAPES | LARGE)[shape]
    any_batch = export.symbolic_shape(f"batch, {', '.join(map(str, image[1:]))}")
    args = jax.ShapeDtypeStruct(any_batch, "float32"), jax.ShapeDtypeStruct(kernel, "float32")
    exported = export.export(gradients(groups), platforms=["cpu"])(*args)
    x, k = (RNG.normal(size=shape).astype(np.float32) for shape in ((16, *image[1:]), kernel))
    for ours, direct in zip(*map(jax.tree.leaves, (exported.call(x, k), gradients(groups)(x, k))), strict=True):
        assert not compare(shape, ours, direct, 1e-4)


@pytest.mark.parametrize("tiles", one_in(2, [200, 10**6, 1]))
def test_winograd_in_pieces(tiles, devices, monkeypatch, x64):
    monkeypatch.setattr(winograd, "TILES", tiles)
    monkeypatch.setattr(winograd, "TILES_OF_BOTH", tiles)
    x, kernel, g = (RNG.normal(size=size) for size in ((48, 5, 6, 3), (3, 3, 3, 2), (48, 5, 6, 2)))
    place = window("conv", x.shape, (3, 3), stride=1, dilation=1, padding="SAME")
    for name, args in {"output": (x, kernel), "kernel_gradient": (x, g)}.items():
        ours, theirs = both(winograd, name, args, place)
        assert not compare(name, ours, theirs, 1e-12)


@pytest.mark.parametrize(
    ("examples", "image", "channels", "number"),
    [(32, 8, 6, 1), (80, 8, 6, 10), (80, 8, 12, 5), (128, 16, 6, 16), (128, 16, 12, 8), (17, 32, 6, 1)],
)
def test_a_kernel_gradient_over_many_places_is_summed_in_pieces(examples, image, channels, number):
    """Of more than 4,096 places: 8 to 16 examples, to 12 with few channels; 17 examples have no equal pieces."""
    x, y_bar = jnp.zeros((examples, image, image, channels)), jnp.zeros((examples, image, image, 12))
    place = window("conv", x.shape, (5, 5), stride=1, dilation=1, padding="SAME")
    gradient = functools.partial(convolution.kernel_gradient, window=place, groups=1)
    loops = re.findall(r"scan\[.*?length=(\d+)", str(jax.make_jaxpr(gradient)(x, y_bar)), re.S)
    assert loops == [str(number)] * (number > 1)


def test_pieces_are_equal_and_neither_larger_nor_smaller_than_asked():
    assert [pieces.number(n, 32) for n in (1, 8, 32, 33, 96, 128, 127)] == [1, 1, 1, 3, 3, 4, 1]
    assert [pieces.number(n, 2) for n in (1, 8, 16, 17, 24)] == [1, 1, 2, 1, 3]


def gradients(groups):
    def loss(x, kernel):
        return jnp.sum(jnp.sin(fnnet.conv(x, kernel, groups=groups)))

    return jax.jit(jax.value_and_grad(loss, (0, 1)))


def convolutions(text: str) -> list[str]:
    """The convolutions of a program, each by its number of groups."""
    return re.findall(r"feature_group_count = (\d+)", text)


@pytest.mark.cpu
@pytest.mark.parametrize("outputs", [24, 16])
def test_before_jax_0_12_an_image_is_dilated_where_that_takes_all_cores(outputs, monkeypatch):
    monkeypatch.setattr(canonical, "ON_ONE_CORE", True)
    args = jnp.zeros((8, 6, 5, 24)), jnp.zeros((3, 3, 24, outputs))
    text = jax.jit(functools.partial(fnnet.conv, stride=2)).lower(*args).as_text()
    assert ("stride = [4, 4]" in text) == ("lhs_dilate = [2, 2]" in text) == (outputs == 24)


@pytest.mark.cpu
@pytest.mark.parametrize("shape", SHAPES)
def test_on_a_cpu_no_convolution_has_groups(shape):
    image, kernel, groups = SHAPES[shape]
    text = gradients(groups).lower(jnp.zeros(image), jnp.zeros(kernel)).as_text()
    wanted = {"dense": 2, "few taps": 1, "groups": 12, "depthwise": 0, "wide": 0}
    assert convolutions(text) == ["1"] * wanted[shape]


@pytest.mark.cpu
def test_of_one_example_the_kernel_gradient_is_a_product():
    """Under vmap(grad): batched products of patches, where autodiff has a convolution with a group an example."""
    _, kernel, _ = SHAPES["dense"]
    each = jax.jit(jax.vmap(lambda x, k: gradients(1)(x, k)[1][1], (0, None)))
    text = each.lower(jnp.zeros((4, 6, 5, 24)), jnp.zeros(kernel)).as_text()
    assert set(convolutions(text)) == {"1"}
    assert "batching_dims" in text


@pytest.mark.parametrize("shape", one_in(3, LARGE))
def test_large_shapes_agree_with_autodiff(shape, devices):
    image, kernel, groups = LARGE[shape]
    x, k = (RNG.normal(size=shape).astype(np.float32) for shape in (image, kernel))
    place = window("conv", x.shape, kernel[:2], stride=1, dilation=1, padding="SAME")
    g = RNG.normal(size=(*image[:-1], kernel[-1])).astype(np.float32)

    def pulled(function):
        return jax.jit(lambda x, k, g: jax.vjp(functools.partial(function, groups=groups), x, k)[1](g))(x, k, g)

    ours, theirs = pulled(fnnet.conv), pulled(functools.partial(plain.output, window=place))
    for name, a, b in zip(("x", "kernel"), ours, theirs, strict=True):
        assert not compare(f"{name} of {shape}", a, b, 1e-4)


@pytest.mark.parametrize("mapped", ["both", "x", "kernel"])
def test_special_forms_under_vmap(mapped, devices, monkeypatch, x64):
    """The kernel mapped too: no merging of the mapped axis with the batch's."""
    monkeypatch.setattr(convolution, "LEAST_CHANNELS", 1)
    monkeypatch.setattr(convolution, "LEAST_WEIGHTS", 10)
    monkeypatch.setattr(convolution, "LEAST_TILES", 1)
    axes = {"both": (0, 0), "x": (1, None), "kernel": (None, 2)}[mapped]
    shapes = (4, 5, 6, 9), (3, 3, 9, 10)
    args = [
        RNG.normal(size=shape if axis is None else (*shape[:axis], 3, *shape[axis:]))
        for shape, axis in zip(shapes, axes, strict=True)
    ]
    place = window("conv", shapes[0], (3, 3), stride=1, dilation=1, padding="SAME")

    def pulled(function):
        def both(x, kernel):
            y, pull = jax.vjp(function, x, kernel)
            return y, *pull(jnp.sin(y))

        return jax.jit(jax.vmap(both, axes))(*args)

    ours, theirs = pulled(fnnet.conv), pulled(functools.partial(plain.output, window=place, groups=1))
    for name, a, b in zip(("y", "x_bar", "kernel_bar"), ours, theirs, strict=True):
        assert not compare(name, a, b, 1e-12)


def test_the_output_and_its_gradient_by_x_are_of_the_batch_under_vmap_of_grad():
    """The forms are chosen by the size of the batch, which op by op would be 1."""

    def loss(kernel, x):
        return (fnnet.conv(fnnet.conv(x, kernel), kernel) ** 2).sum()

    kernel, xs = jnp.ones((3, 3, 2, 2)), jnp.ones((8, 6, 5, 2))
    program = str(jax.make_jaxpr(jax.vmap(jax.grad(loss), (None, 0)))(kernel, xs))
    assert re.findall(r":f32\[(\S+)\] = conv.by_y_bar", program) == 2 * ["8,6,5,2"]
    assert set(re.findall(r":f32\[(\S+)\] = conv.by_x", program)) == {"8,6,5,2"}


def test_of_one_piece_the_sum_is_computed_once():
    program = jax.jit(lambda x, kernel: fnnet.max_pool(fnnet.conv(x, kernel), 2)).lower(
        jnp.ones((8, 12, 12, 1)), jnp.ones((5, 5, 1, 6))
    )
    branches = [line for line in program.compile().as_text().splitlines() if " conditional(" in line]
    assert sum("f32[8,12,12,6]" in branch for branch in branches) == 1


def test_what_several_loops_take_in_pieces_is_computed_once():
    def loss(kernel, x):
        return (fnnet.conv(jnp.sin(x), kernel) ** 2).sum()  # the sine is read by the output and the kernel's gradient

    program = jax.jit(jax.grad(loss)).lower(jnp.ones((3, 3, 32, 64)), jnp.ones((128, 14, 14, 32))).compile().as_text()
    assert program.count(" while(") >= 2
    assert program.count(" sine(") == 1


@pytest.mark.cpu
def test_a_kernel_gradient_multiplies_what_lies_in_memory_as_a_product_reads_it(monkeypatch):
    monkeypatch.setattr(pieces, "sharers", lambda: 1)
    x, g = jnp.ones((64, 14, 14, 32)), jnp.ones((64, 14, 14, 64))
    place = window("conv", x.shape, (3, 3), stride=1, dilation=1, padding="SAME")
    text = jax.jit(functools.partial(winograd.kernel_gradient, window=place)).lower(x, g).compile().as_text()
    found = re.findall(r"f32\[32,64\]\S* dot\(.*lhs_contracting_dims=\{(\d)\}, rhs_contracting_dims=\{(\d)\}", text)
    assert found == [("1", "0")] * 16
    assert len(re.findall(r"f32\[2,2,[\d,]+\]\{5,4,3,2,1,0\} copy\(", text)) == 2  # the transposes, each done once
    assert set(re.findall(r"f32\[4,2,[\d,]+\](\{[\d,]+\})", text)) <= {"{5,4,3,2,1,0}", "{3,2,1,0}"}


@pytest.mark.cpu
def test_patches_of_a_first_layer_are_not_kept_from_the_forward(monkeypatch):
    """They depend on the images alone: XLA would make them before the backward, in the entry computation."""
    monkeypatch.setattr(pieces, "sharers", lambda: 1)
    images, kernel = jnp.ones((2, 32, 32, 3)), jnp.ones((3, 3, 3, 64))
    gradient = jax.jit(jax.grad(lambda kernel, images: jnp.sin(fnnet.conv(images, kernel)).sum()))
    program = gradient.lower(kernel, images).compile().as_text()
    patches, entry = "f32[27,2048]", program[program.index("\nENTRY") :]
    assert (patches in program, patches in entry) == (True, False)
