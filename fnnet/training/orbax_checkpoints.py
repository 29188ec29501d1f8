"""Checkpoints that several processes write and read together, each the parts on its own devices: through Orbax.

    16/     a checkpoint by Orbax's CheckpointManager, named after twice its step, plus one at the end of an epoch
        arrays      parameters, optimiser's state and the rest of a training state, numbered
        record      in JSON: what each number is, the configuration, the history and the rest of a `Moment`

They are read with any number of processes and devices. Format: https://orbax.readthedocs.io
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from fnnet.training import checkpoint
from fnnet.training.processes import agreed
from fnnet.training.resumption import (
    TRAINING,
    Checkpoints,
    Moment,
    Saved,
    checked_training,
    moment_of,
    record_of,
    trees_of,
)
from fnnet.training.state import State, nothing_yet


class OrbaxCheckpoints(Checkpoints):
    """As `Checkpoints`, for a training in several processes, or one that goes on in another number of them.

    All processes make it with the same arguments, and all of them must reach the directory.

    Args:
        directory, config, keep, seconds, report: As for `Checkpoints`; the first process's clock counts. One that
            cannot be written is an error, also in the middle of the training.

    Raises:
        ImportError: Orbax is not installed (the extra "orbax").
        ValueError: As for `Checkpoints`.
    """

    def __enter__(self) -> "OrbaxCheckpoints":
        """Lock the directory (the first process does), and open it."""
        if not self._entered:
            manager = _manager_of()
            if jax.process_index() == 0:
                self._lock()
            self.directory.mkdir(parents=True, exist_ok=True)
            self._manager = manager(self.directory, self.keep)
            self._held.callback(self._manager.close)
        self._entered += 1
        return self

    def __call__(self, moment: Moment) -> None:
        """Write a checkpoint if one is due. One that cannot be written is an error: no process goes on by itself."""
        if moment.ended or self.due():
            self.save(moment)

    def due(self) -> bool:
        """Whether a checkpoint is to be written now; all processes get the same answer."""
        return bool(agreed(super().due()))

    def save(self, moment: Moment) -> Path:
        """Write a checkpoint, all processes together, and remove the oldest ones."""
        import orbax.checkpoint as ocp

        self._restart_clock()
        number = 2 * int(moment.state.step) + (int(moment.tally.steps) == 0)
        if number not in self._manager.all_steps():
            leaves = checkpoint.paths(_plain_keys(trees_of(moment)))
            described = {path: [list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves.items()}
            key = str(jax.random.key_impl(moment.state.key))
            record = self.config | {TRAINING: record_of(moment) | {"arrays": described, "key": key}}
            arrays = {str(place): leaf for place, leaf in enumerate(leaves.values())}
            both = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave(record))
            self._manager.save(number, args=both, force=True)
            self._manager.wait_until_finished()
        return self.directory / str(number)

    def resume(self, state: State) -> Moment | None:
        """The moment of the newest checkpoint, its arrays lying as those of `state` do; None if there is none."""
        saved = _read(self._manager, self.directory, state)
        if saved is None:
            return None
        self.refuse_another(saved)
        return moment_of(saved, state)


def newest_saved(directory: Path) -> Saved | None:
    """The newest checkpoint in a directory, its arrays on this machine; None if there is none."""
    with _manager_of()(directory, None) as manager:
        return _read(manager, directory, None)


def holds_some(directory: Path) -> bool:
    """Whether the directory has a checkpoint of this kind."""
    return directory.is_dir() and any(path.name.isdigit() for path in directory.iterdir())


def _manager_of() -> Any:
    try:
        import orbax.checkpoint as ocp
    except ImportError:
        raise ImportError('OrbaxCheckpoints: orbax-checkpoint must be installed: pip install "fnnet[orbax]"') from None

    def open_in(directory: Path, keep: int | None) -> Any:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        return ocp.CheckpointManager(directory.absolute(), options=options, item_names=("arrays", "record"))

    return open_in


def _read(manager: Any, directory: Path, state: State | None) -> Saved | None:
    """The newest checkpoint; where a state is given, if it fits, its arrays lying as that state's do."""
    import orbax.checkpoint as ocp

    number = manager.latest_step()
    if number is None:
        return None
    path = directory / str(number)
    config = dict(manager.restore(number, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"])
    training = config.pop(TRAINING, None)
    checked = checked_training(path, training)
    try:
        wanted = {
            path: jax.ShapeDtypeStruct(shape, np.dtype(dtype)) for path, (shape, dtype) in training["arrays"].items()
        }
        key = training["key"]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"load: {path} is no checkpoint of a training run: {error!r}") from None
    if state is None:
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        wanted = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here) for path, leaf in wanted.items()}
    else:
        like = checkpoint.paths(_plain_keys(trees_of(Moment(state, nothing_yet(), [], (0.0, state.params)))))
        lies = {path: leaf.sharding for path, leaf in like.items() if path in wanted}
        whole = state.step.sharding
        wanted = {
            path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_fitting(lies.get(path, whole), whole, leaf))
            for path, leaf in wanted.items()
        }
    numbered = {str(place): leaf for place, leaf in enumerate(wanted.values())}
    found = manager.restore(number, args=ocp.args.Composite(arrays=ocp.args.StandardRestore(numbered)))["arrays"]
    leaves = {path: found[str(place)] for place, path in enumerate(wanted)}
    leaves["key"] = jax.random.wrap_key_data(jax.numpy.asarray(np.asarray(leaves["key"])), impl=key)
    return Saved(path, checkpoint.nested(path, leaves), config, checked)


def _fitting(sharding: Any, whole: Any, leaf: Any) -> Any:
    """The sharding, if an array of that shape can have it: another shape is refused later, with a message."""
    try:
        sharding.shard_shape(leaf.shape)
    except ValueError:
        return whole
    return sharding


def _plain_keys(trees: dict[str, Any]) -> dict[str, Any]:
    return trees | {"key": jax.random.key_data(trees["key"])}
