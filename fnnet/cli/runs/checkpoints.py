"""The checkpoints of a run: they also write the journal, and end the training when a signal asks for it.

`fit` calls them before the first step and after it, so they also say how long it compiles.
"""

from pathlib import Path

import jax

from fnnet.cli import signals
from fnnet.cli.runs.compiling import Compiling
from fnnet.cli.runs.directory import CHECKPOINTS, HISTORY, Config, warn, write_config
from fnnet.cli.runs.journal import Journal
from fnnet.cli.runs.moments import Moments
from fnnet.cli.subjects import subject_of
from fnnet.training import processes, resumption
from fnnet.training.orbax_checkpoints import OrbaxCheckpoints, holds_some
from fnnet.training.resumption import Checkpoints, Moment, Saved
from fnnet.training.state import State


class RunCheckpoints(Checkpoints):
    """The checkpoints of a training in one process."""

    def __init__(self, run: Path, config: Config, seconds: float, request: signals.StopRequest):
        """Writes nothing yet."""
        super().__init__(run / CHECKPOINTS, config=config, seconds=seconds, report=warn)
        self.run, self.request = run, request
        self.compiling = Compiling()
        self.moments = Moments(run, config.get("trace_every"))
        self.journal = Journal(run / HISTORY, config["epochs"], subject_of(config))
        self._epochs_before = config["epochs"]  # of the run, when it was last trained

    def refuse_another(self, saved: Saved) -> None:
        """As the class above; the number of epochs may change, but not below those that are done."""
        super().refuse_another(saved._replace(config=saved.config | {"epochs": self.config["epochs"]}))
        done, epochs = len(saved.training["history"]), self.config["epochs"]
        if done > epochs:
            raise ValueError(f"train: {self.run} has {done} epochs already; --epochs {epochs} must be {done} or more")
        self._epochs_before = saved.config["epochs"]

    def resume(self, state: State) -> Moment | None:
        """As the class above; the journal then has the history up to there.

        Where patience ended the training, more epochs than before begin a new patience.
        """
        moment = super().resume(state)
        epochs, patience = self.config["epochs"], self.config.get("patience")
        if moment is not None and int(moment.tally.steps) and int(moment.state.epoch) >= epochs:
            raise ValueError(
                f"train: {self.run} stopped in epoch {epochs + 1}; --epochs {epochs} must be {epochs + 1} or more"
            )
        ended_early = moment is not None and patience is not None and moment.since_best >= patience
        if moment is not None and ended_early and epochs > self._epochs_before:
            moment = moment._replace(since_best=0)
        self.moments.begin(0 if moment is None else int(moment.state.epoch))
        if moment is None:
            self.moments.keep(0, state.params)
        if processes.is_first():
            write_config(self.run, self.config)
            self.journal.note([] if moment is None else moment.history)
        if moment is not None and processes.is_first():
            done = int(moment.tally.steps)
            more = f" and {done} steps" if done else ""
            print(f"going on after epoch {int(moment.state.epoch)}{more}", flush=True)
        if processes.is_first() and not (moment is not None and self._has_ended(moment)):
            self.compiling.begin()
        return moment

    def _has_ended(self, moment: Moment) -> bool:
        """Whether no step is left."""
        patience = self.config.get("patience")
        ended_early = patience is not None and moment.since_best >= patience
        return ended_early or int(moment.state.epoch) >= self.config["epochs"]

    def __call__(self, moment: Moment) -> None:
        """Note the end of an epoch, and write a checkpoint if one is due, or if the training must stop."""
        self.compiling.end()
        is_end_of_epoch = not int(moment.tally.steps)
        if is_end_of_epoch:
            self.moments.keep(int(moment.state.epoch), moment.state.params)
        if is_end_of_epoch and processes.is_first():
            self.journal.show(moment.history[-1])
            try:
                self.journal.note(moment.history)
            except OSError as error:
                if moment.ended:
                    raise
                warn(f"{self.journal.file} cannot be written: {error}; the training goes on")
        number = processes.largest(self.request.number or 0)
        if not number:
            super().__call__(moment)
        else:
            raise signals.Stopped(number, self._saved_before_leaving(moment))

    def _saved_before_leaving(self, moment: Moment) -> str:
        """Save, and say where the training stopped and how to go on."""
        where = f"stopped in epoch {int(moment.state.epoch) + 1}, after step {int(moment.tally.steps)} of it"
        if moment.ended:
            where = "stopped after the last epoch, before the pictures"
        again = f"fnnet train --resume {self.run} goes on"
        try:
            saved = self.save(moment)
        except OSError as error:
            return f"{where}; this could not be saved: {error}; {again} from the checkpoint before"
        return f"{where}; {saved} has it; {again} from there"


class RunCheckpointsOfProcesses(RunCheckpoints, OrbaxCheckpoints):
    """The same, which several processes write together."""


def checkpoints_of(run: Path, config: Config, seconds: float, request: signals.StopRequest) -> RunCheckpoints:
    """Of one process or of several, as the run began; ValueError where several find the checkpoints of one."""
    is_of_several = holds_some(run / CHECKPOINTS)
    if jax.process_count() > 1 and not is_of_several and resumption.found_in(run / CHECKPOINTS):
        raise ValueError(f"resume: {run} was begun in one process, and must go on in one")
    kind = RunCheckpointsOfProcesses if is_of_several or jax.process_count() > 1 else RunCheckpoints
    return kind(run, config, seconds, request)
