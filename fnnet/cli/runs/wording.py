"""What `fnnet train` says of a training: its settings, what more epochs change, what helps, and what comes next."""

from pathlib import Path
from typing import Any

import numpy as np

from fnnet.cli import presets
from fnnet.cli.augmenting import in_words
from fnnet.cli.runs.directory import Config
from fnnet.cli.subjects import IMAGES, TEXT, subject_of

LARGE = 30.0  # inputs this large are the likely cause of an infinite loss


def described(config: Config) -> str:
    """The settings of a training in one line."""
    schedule = config.get("schedule", presets.OPTIMIZERS[config["optimizer"]].schedule)
    warmup = f" after {config['warmup']} steps of warm-up" if config.get("warmup") else ""
    falls = "" if schedule == "constant" else f", down to 0 by a {schedule} schedule"
    parts = [f"{config['optimizer']}, learning rate {config['learning_rate']:g}{warmup}{falls}"]
    if decay := config.get("weight_decay"):
        parts.append(f"weight decay {decay:g}")
    if config.get("clip") is not None:
        parts.append(f"gradients clipped to a norm of {config['clip']:g}")
    if config["label_smoothing"]:
        parts.append(f"labels smoothed by {config['label_smoothing']:g}")
    if config.get("augment"):
        parts.append(f"images changed by {in_words(config['augment'])}")
    epochs = f"{config['epochs']} epoch{'' if config['epochs'] == 1 else 's'} in batches of {config['batch_size']}"
    patience = config.get("patience")
    parts.append(epochs if patience is None else f"at most {epochs}, until {patience} bring no lower held-out loss")
    return "; ".join(parts)


def other_epochs(config: Config, epochs: int) -> str:
    """What it means to go on to another number of epochs than a run began with."""
    schedule = config.get("schedule", presets.OPTIMIZERS[config["optimizer"]].schedule)
    changed = f"{epochs} epochs in place of {config['epochs']}"
    if schedule == "constant":
        return f"{changed}: the same as {epochs} from the start"
    return (
        f"{changed}: the {schedule} schedule is from here on that of {epochs}, so the result is not the same as "
        f"{epochs} from the start (only --schedule constant gives that)"
    )


def advice(config: Config, xs: Any) -> str:
    """What usually helps where the loss is not finite: other data where their numbers are large, else a lower rate."""
    largest = 0.0 if subject_of(config) is TEXT else float(np.abs(xs).max())
    if not largest < LARGE:
        return f"the data have numbers up to {largest:.3g}, and should be scaled to about 1"
    clip = "" if config.get("clip") is not None else ", or --clip 1"
    return f"--learning-rate {config['learning_rate'] / 10:g}, a tenth, usually helps{clip}"


def next_commands(run: Path, config: Config) -> str:
    """What can be done with a finished run."""
    subject, more = subject_of(config), 2 * config["epochs"]
    use = f'fnnet sample {run} --prompt "The "' if subject is TEXT else f"fnnet predict {run} IMAGE.png"
    commands = [f"fnnet evaluate {run}", use, f"fnnet trace {run}", f"fnnet train --resume {run} --epochs {more}"]
    if subject is IMAGES and config.get("reading", "grey") is None:
        del commands[1]
    return "; ".join(commands)
