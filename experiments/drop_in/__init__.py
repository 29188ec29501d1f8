"""fnnet's functions inside other libraries' networks: each example as it was, and with them dropped in.

    python experiments/benchmarks drop-in

times every example before and after, and sees to it that both have the same losses. The library keeps the parameters,
the optimiser and the training step; what changes is which function is called: fnnet's `conv`, `dense`, `max_pool`,
`avg_pool`, activations and losses take plain arrays.
"""

from benchmarks.nets import NETS

# Each example's contestant, in whose process it runs; a net whose examples it takes; its mini-batch.
EXAMPLES = {
    "flax_mnist": ("flax", NETS["cnn"], 128),
    "flax_cnn": ("flax", NETS["cnn"], 128),
    "equinox_mnist": ("equinox", NETS["cnn"], 64),
    "bare_lax": ("autodiff", NETS["cnn"], 128),
}
