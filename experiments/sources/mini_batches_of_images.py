"""Mini-batches of images: convolution with ReLU, max-pooling, flatten and a softmax, with the mean of the derivatives.

    python experiments/sources/mini_batches_of_images.py [--data DIR] [--epochs 10] [--rate 10] [--batch 16]

Source: 001 ("Al Project", full version): complete batches only; "same" padding with the odd row and column at the end;
the least padding of a pooling whose windows lie side by side, here of 3, since 3 does not divide 8; half the mean of
the squared errors. The gradients are compared with three filters of 2 x 2, as there; eight are trained, on the digits
or, with `--data`, on the IDX files of a directory. Trained a second time with the two mistakes of its mini-batches that
run: "columns-by-batch" (only the weights from as many inputs as the batch has examples) and "bias-inside-loop".
"""

import dense_loops
import image_loops
import jax.numpy as jnp
import numpy as np
import optax
import printed_rules
from three_ways import Outcome, gradients_of, largest_difference, main, mean
from training_curves import draw, half_mean_square, lines, train

import fnnet

FILTERS, WINDOW, POOL = 3, 2, 3


def rule(params, x, y):
    kernel, weights, bias = params
    image = fnnet.relu(fnnet.conv(x[..., None], kernel))
    image = fnnet.max_pool(image, POOL, padding="SAME")
    vector = jnp.moveaxis(image, -1, 0).ravel()  # (18): one matrix after the other
    return fnnet.squared_error(fnnet.softmax(fnnet.dense(vector, weights, bias)), y) / y.shape[-1]


def plain(params, x, y):
    kernel, weights, bias = params
    wide = jnp.pad(x, ((0, 1), (0, 1)))
    n = len(x)
    z = sum(wide[k : k + n, l : l + n, None] * kernel[k, l, 0] for k in range(WINDOW) for l in range(WINDOW))
    p = image_loops.least_padding(n, POOL)
    wide = jnp.pad(jnp.maximum(z, 0), ((p // 2, p - p // 2), (p // 2, p - p // 2), (0, 0)))
    m = len(wide) // POOL
    image = wide.reshape(m, POOL, m, POOL, FILTERS).max((1, 3))
    e = jnp.exp(jnp.moveaxis(image, -1, 0).ravel() @ weights + bias)
    return 0.5 * jnp.mean((e / e.sum() - y) ** 2)


def loops(params, xs, ys):
    """The mean over the batch of each example's derivatives, all by the source's formulas."""
    kernel, weights, bias = params
    kernels = np.moveaxis(kernel[:, :, 0], -1, 0)
    found = []
    for x, y in zip(xs, ys, strict=True):
        zs = np.stack([image_loops.convolution(x, one, WINDOW - 1) for one in kernels])
        outputs = np.maximum(zs, 0)
        p = image_loops.least_padding(len(x), POOL)
        pooled = [image_loops.max_pool(output, POOL, p) for output in outputs]
        vector = image_loops.flatten([output for output, _ in pooled])
        layers = [dense_loops.Layer(weights.T, bias, "softmax")]
        ((weights_bar, bias_bar),) = dense_loops.step_2_full(layers, vector, y)
        vector_bar = bias_bar @ layers[0].weights  # dC/dz of the last layer, and one layer back
        pooled_bar = image_loops.unflatten(vector_bar, (FILTERS, *pooled[0][0].shape))
        outputs_bar = [
            image_loops.max_pool_backward(output, where, bar, p)
            for output, (_, where), bar in zip(outputs, pooled, pooled_bar, strict=True)
        ]
        _, kernels_bar = image_loops.convolution_backward(x, kernels, zs, np.stack(outputs_bar), WINDOW - 1)
        found.append((np.moveaxis(kernels_bar, 0, -1)[:, :, None], weights_bar.T, bias_bar))
    return [np.mean([example[part] for example in found], 0) for part in range(3)]


def gradients(seed):
    rng = np.random.default_rng(seed)
    size, batch, outputs = 5, 4, 4
    inputs = FILTERS * ((size + image_loops.least_padding(size, POOL)) // POOL) ** 2
    shapes = ((WINDOW, WINDOW, 1, FILTERS), (inputs, outputs), (outputs,))
    params = [rng.normal(size=shape) for shape in shapes]
    xs, ys = rng.normal(size=(batch, size, size)), np.eye(outputs)[rng.integers(0, outputs, batch)]
    return gradients_of(loops(params, xs, ys), mean(rule), mean(plain), params, xs, ys)


def matrices_in_turn(x):
    """(18): the channels, which stand last, first."""
    return jnp.moveaxis(x, -1, 0).ravel()


def run(
    seed: int = 0, picture=None, data=None, epochs: int = 10, rate: float = 10.0, filters: int = 8, batch: int = 16
) -> Outcome:
    images, curves, loss = fnnet.data.load(data or "digits"), {}, half_mean_square(fnnet.softmax)
    net = fnnet.Sequential(
        fnnet.Conv(filters, WINDOW, bias=False),
        fnnet.relu,
        fnnet.MaxPool(POOL, padding="SAME"),
        matrices_in_turn,
        fnnet.Dense(len(images.classes)),
    )
    batched = [printed_rules.bias_inside_loop(batch), printed_rules.columns_by_batch(batch)]
    for name, changes in (("the mean of the derivatives", []), ("its loops as printed", batched)):
        optimizer = optax.chain(*changes, optax.sgd(rate))
        curves[name] = train(net, loss, optimizer, images, seed=seed, epochs=epochs, batch_size=batch)
    print(lines(curves))
    draw(picture, curves, f"Convolution, max-pooling and softmax on {images.name}")
    true, printed = curves.values()
    result = f"{images.name} {true} right, with its loops as printed {printed}"
    return Outcome("mini-batches of images", "001", largest_difference(gradients(seed)), result)


if __name__ == "__main__":
    main(run, __doc__, data=None, epochs=10, rate=10.0, filters=8, batch=16)
