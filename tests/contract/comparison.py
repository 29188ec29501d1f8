"""Entry by entry: |a - b| <= tolerance * (|b| + rms of b)."""

import numpy as np

UNDERFLOW = float(np.finfo(np.float32).tiny)  # what float32 makes 0


def compare(what: str, ours, theirs, tolerance: float, rounding: float = 0.0) -> list[str]:
    """Nothing, or what is wrong with the worst entry.

    `rounding` is allowed besides, for rules whose gradients cancel.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        return [f"{what}: shape {ours.shape}, the reference has {theirs.shape}"]
    if not theirs.size:
        return []
    finite = np.isfinite(theirs)
    rms = np.sqrt(np.mean(np.square(theirs[finite]))) if finite.any() else 0.0
    allowed = tolerance * (np.abs(theirs) + rms) + rounding + UNDERFLOW
    with np.errstate(invalid="ignore"):
        error = np.abs(ours - theirs)
    same = np.where(finite, error <= allowed, (ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    if same.all():
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.where(same, 0.0, np.nan_to_num(error / allowed, nan=np.inf))
    at = np.unravel_index(np.argmax(excess), excess.shape)
    return [
        f"{what}: {(~same).sum()} of {same.size} entries differ; the worst at {tuple(map(int, at))}: {ours[at]}, the "
        f"reference has {theirs[at]}: {excess[at]:.3g} times the tolerance {tolerance:g}"
    ]
