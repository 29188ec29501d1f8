"""The words of a trace's page, each explained in one sentence."""

GLOSSARY: dict[str, str] = {
    # What flows.
    "forward": "The way from the input to the loss, on which each layer computes its output from its input.",
    "backward": "The way from the loss to the input, on which each layer computes the cotangents of its input and its "
    "parameters from the cotangent of its output.",
    "gradient": "How fast the loss grows as a number grows, for each entry of an array.",
    "cotangent": "The gradient of the loss by an array that the network computes; it has the shape of the array.",
    "y_bar": "The cotangent of the output y of a layer, which comes into the layer on the way back.",
    "tangent": "How fast a number changes as one chosen weight or input grows, followed forwards from layer to layer.",
    "residual": "An array that the forward saves because the backward needs it, such as the input of a dense layer.",
    # The loss and its probabilities.
    "loss": "One number that says how wrong the answers are; training makes it smaller.",
    "logit": "An output of the network before softmax or sigmoid turns it into a probability; it can be any number.",
    "probability": "A number from 0 to 1 that says how sure the network is of an answer; those of softmax add up to 1.",
    # Training.
    "mini-batch": "The examples that one step of training uses together; their mean loss is differentiated.",
    "update": "What one step of training adds to a weight.",
    "learning rate": "The factor that says how large an update is; without an adaptive optimiser the update is the "
    "gradient times minus the learning rate.",
    # Layers.
    "kernel": "The weights of a layer, by which it multiplies its input.",
    "bias": "Numbers that a layer adds to its output, one for each feature.",
    "tap": "One place of a convolution's kernel: 3 by 3 weights are nine taps.",
    "stride": "How many entries a window moves on from one output to the next.",
    "receptive field": "The entries of an input that one entry of an output depends on.",
    "Residual": "A layer that adds its input, or a projection of it, to what its inner layers compute; on the way back "
    "the cotangent takes both paths.",
    "normalisation statistics": "The mean and the variance by which a layer shifts and scales its input.",
    "token": "One place of a sequence, such as a word or a letter of a text.",
    "hidden state": "The numbers that a recurrent layer hands from one token to the next.",
    "query": "In attention, what a token looks for; its product with a key says how well the two match.",
    "key": "In attention, what a token is found by.",
    "value": "In attention, what a token hands to the tokens that look at it; elsewhere, an array that the forward "
    "computes.",
    "attention weights": "How much each token takes of each token's value: a row for each token that looks, which adds "
    "up to 1.",
    # Numbers, and how they are checked.
    "rms": "The size of a typical entry: the square root of the mean of the squares.",
    "dtype": "How a number is stored: float32 has about seven decimal digits.",
    "autodiff": "The gradient that JAX derives from the forward by itself, without the hand-written backward.",
    "finite differences": "A slope measured by moving the numbers a little and computing the output again.",
    "kink": "A place where a slope jumps, such as ReLU's at 0; which slope counts there is a convention.",
}
"""Each term, and its sentence."""
