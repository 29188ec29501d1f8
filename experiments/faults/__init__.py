"""Faults tried for real on a training's checkpoints: `PYTHONPATH=experiments python -m faults` prints a table.

Each trial makes checkpoints, does something to them or to the process that writes them, and then looks: is every
checkpoint whole that was whole before, is damage named, does the training go on from the newest whole one? The
processes are real, and killed by real signals. They are forked from one that JAX has started nothing in: it would hang.
"""
