"""`fit` and `evaluate`: steps, mini-batches, placement on devices, checkpoints, per-example gradients."""
