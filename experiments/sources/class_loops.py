"""The code of source 004 ("Artificial Neural Network in Python", chapter 4.1): a ReLU neuron, and categorical losses.

As in dense_loops.py, `printed` names the mistakes of docs/errata.md whose printed form runs.
"""

from collections.abc import Collection

import numpy as np


def neuron(x, w, b, dvalue=1.0):
    """Forward and backward of ReLU(x . w + b): every value that the source names."""
    xw = [x[0] * w[0], x[1] * w[1], x[2] * w[2]]
    z = xw[0] + xw[1] + xw[2] + b
    output = max(z, 0)
    relu_by_z = dvalue * (1.0 if z > 0 else 0.0)
    sum_by_xw, sum_by_b = [1, 1, 1], 1
    relu_by_xw = [relu_by_z * one for one in sum_by_xw]
    relu_by_b = relu_by_z * sum_by_b
    mul_by_x, mul_by_w = w, x
    dx = [relu_by_xw[0] * mul_by_x[0], relu_by_xw[1] * mul_by_x[1], relu_by_xw[2] * mul_by_x[2]]
    dw = [relu_by_xw[0] * mul_by_w[0], relu_by_xw[1] * mul_by_w[1], relu_by_xw[2] * mul_by_w[2]]
    return {"xw": xw, "z": z, "output": output, "dReLU_dz": relu_by_z, "dReLU_dxw": relu_by_xw, "dx": dx, "dw": dw} | {
        "db": relu_by_b
    }


def updated(w, b, dw, db):
    """ "Update the weights": the same steps of -0.001 times the gradient."""
    return [w[0] + -0.001 * dw[0], w[1] + -0.001 * dw[1], w[2] + -0.001 * dw[2]], b + -0.001 * db


def softmax(z):
    """S_ij, shifted: see "softmax-overflow" in docs/errata.md."""
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cross_entropy_backward(predictions, y_true, printed: Collection[str] = ()):
    """ "Calculate Gradient of the CCE loss", the code: of the mean over the samples."""
    samples = len(predictions)
    labels = len(predictions[0])
    if len(y_true.shape) == 1:
        if "labels-wrap" not in printed and not ((y_true >= 0) & (y_true < labels)).all():
            raise ValueError(f"cross_entropy_backward: y_true (={y_true}) must be from 0 to {labels - 1}")
        y_true = np.eye(labels)[y_true]
    if "nan-at-zero" in printed:
        dinputs = -y_true / predictions
    else:
        dinputs = np.where(y_true == 0, 0.0, -y_true / np.where(y_true == 0, 1, predictions))
    return dinputs / samples


def softmax_backward(outputs, dvalues, printed: Collection[str] = ()):
    """ "Calculate Gradient of the softmax activation function", the code: a Jacobian for each sample."""
    dinputs = np.empty_like(dvalues if "integer-dvalues" in printed else outputs)
    for index, (single_output, single_dvalues) in enumerate(zip(outputs, dvalues, strict=True)):
        single_output = single_output.reshape(-1, 1)
        jacobian_matrix = np.diagflat(single_output) - np.dot(single_output, single_output.T)
        dinputs[index] = np.dot(jacobian_matrix, single_dvalues)
    return dinputs
