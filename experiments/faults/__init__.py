"""Faults tried for real on a training's checkpoints: see README.md."""
