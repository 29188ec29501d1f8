"""How fast fnnet is beside autodiff, Flax NNX, Equinox and PyTorch: all of them measured in one run, in turn.

    python experiments/benchmarks [PARTS ...] [--nets ...] [--batches ...] [--peers ...] [--output DIR] [--quick]

Each contestant runs in a process of its own, once with glibc's memory setting and once without; all stay alive, and one
block of work at a time is handed round, so that a disturbance of the machine meets all alike and no more than one is
ever at work. Before anything is timed the contestants of a cell (one network and batch, one rule and shape) have to
give the same numbers: they start from the same parameters and see the same batches. Ratios are of medians in a cell.
"""
