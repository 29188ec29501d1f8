"""Training: `fit`. The pure functions under it are in steps.py.

An epoch is a sequence of calls of one compiled program, `run`: a loop on the device over some of the epoch's steps,
whose state is donated. How many steps a call takes is an argument, not a shape: it costs no compilation and changes no
bit of the result. It is chosen so that control returns to Python about twice a second, for progress, signals and
checkpoints. The loop ends by itself at the first loss that is not finite, with the state as it was before that step.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core.arguments import as_flag, as_key, described
from fnnet.core.habits import hinted
from fnnet.layers.recomputed import with_recomputed_blocks
from fnnet.training.arguments import (
    as_augment,
    as_data,
    as_loss,
    as_network,
    as_optimizer,
    at_least_one,
    refuse_pair,
    takes,
)
from fnnet.training.augmented import Augmented
from fnnet.training.averaging import as_decay, average_of, averaging, refuse_another_decay
from fnnet.training.batches import refuse_nonfinite
from fnnet.training.compilation_cache import keeping_programs
from fnnet.training.device_mesh import placement_on
from fnnet.training.epochs import epoch_of
from fnnet.training.evaluation import check_validation, evaluate
from fnnet.training.history import History
from fnnet.training.loss_check import check_loss
from fnnet.training.metrics import Metrics, as_metrics
from fnnet.training.placement import Batch
from fnnet.training.processes import lost_ones_named
from fnnet.training.programs import programs_for
from fnnet.training.resumption import Checkpoints, Moment
from fnnet.training.sample_weights import plain_labels, weighted
from fnnet.training.state import State, nothing_yet
from fnnet.training.steps import start
from fnnet.training.trainable import part_of
from fnnet.training.training_warnings import (
    warn_of_channels_first,
    warn_of_left_out,
    warn_of_probabilities,
    warn_of_shorter_epoch,
)


class NonFiniteLossError(FloatingPointError):
    """The loss became infinite or NaN. `state` is from before that step, `history` of the epochs before."""

    def __init__(self, message: str, state: State, history: list[dict]):
        """The message names epoch and step."""
        super().__init__(message)
        self.state, self.history = state, history


@hinted
@keeping_programs
def fit(
    net: Any,
    loss: Callable,
    optimizer: Any,
    data: Batch | Iterable[Batch],
    *,
    key: jax.Array | int,
    epochs: int = 1,
    batch_size: int = 32,
    accumulate: int = 1,
    recompute: bool = False,
    params: Any = None,
    trainable: Any = None,
    sample_weight: Any = None,
    augment: Callable | None = None,
    validation: Batch | Iterable[Batch] | None = None,
    metrics: Metrics | None = None,
    average: float | None = None,
    patience: int | None = None,
    callback: Callable[[dict, State], Any] | None = None,
    progress: bool = True,
    checkpoints: Checkpoints | None = None,
    allow_nonfinite: bool = False,
    mesh: jax.sharding.Mesh | None = None,
    shard_parameters: bool = False,
    compilation_cache: str | os.PathLike | None = None,
) -> tuple[Any, list[dict]]:
    """Train `net` by mini-batches: `jax.vmap` of a network of one example, gradients by the rules, steps by optax.

    Args:
        net: Has `init(key, shape) -> params` and `apply(params, x, *, key) -> output`, for one example; hashable.
        loss: loss(outputs, ys) -> one number per example, or the pair (losses, weights). A mini-batch's loss is their
            mean, as `fnnet.mean_loss` takes it; `jax.vmap` makes a loss of one example into such a loss.
        optimizer: Any optax transformation, with its schedules and clipping; or "adam", "adamw", "momentum",
            "nadam", "rmsprop" or "sgd" for that of optax with Keras' default rate: 1e-3, for "sgd" and "momentum" 1e-2.
            "momentum" is "sgd" with a momentum of 0.9.
        data: The pair (xs, ys) of arrays with the examples along the first axis, such as `fnnet.data.windows` makes of
            a text, or of lists or tables that NumPy makes into arrays; or an iterable of such pairs, each one
            mini-batch, which can be iterated once an epoch: for data larger than memory.
        key: A key of `jax.random`, or its seed: it settles the initial parameters, each epoch's order, and dropout.
        epochs: How many times to go through the data.
        batch_size: Examples in a mini-batch. Only complete ones are used: the leftovers of an epoch's random order are
            dropped, and, of an iterable, the batches that are smaller than its first.
        accumulate: Number of equal chunks into which each mini-batch is split, one of them in memory at a time; their
            gradients are added up before the step. The result is the same up to rounding, ignored labels, weights and
            dropout included; but `BatchNorm` takes the statistics of each chunk. It must divide the mini-batch.
        recompute: Whether the backward computes each block of the network again instead of keeping what it needs of it:
            less memory for more time. Blocks are the outermost `Residual` and `Repeat`, at any depth of `Sequential`;
            `fnnet.Recomputed` does it for a layer of your choice.
        params: Parameters to start from; not changed. None: from `net.init`.
        trainable: Which parameters are trained. The others keep their bits, without gradients or optimiser state: a
            tree of booleans like the parameters, in which one may stand for a whole layer; or a function of a
            parameter's name, such as `lambda name: name.startswith("dense_7/")`. None: all.
        sample_weight: A number of 0 or more for each example of arrays. Its loss is multiplied by it, and the sum over
            a mini-batch is divided by that of the weights; a mini-batch whose weights are all 0 changes nothing. With
            an iterable, let the loss return (losses, weights).
        augment: augment(key, x) -> x changes an example in the training, such as `fnnet.data.Augment(shift=2)`; it is
            compiled into the step, and gets a key of its own for each example and step. Hashable.
        validation: Held-out data, evaluated after each epoch.
        metrics: What to measure on the validation data, such as ["top_5", "f1"], as in `evaluate`.
        average: The decay of an exponential moving average of the parameters over the steps, such as 0.999, in f32 for
            bf16 and f16; those that are not trained stay as they are. Validation takes the average, and `fit` returns
            it. The state of `callback` has the last step's parameters.
        patience: Stop after so many epochs without a lower validation loss, and return the best epoch's parameters.
        callback: callback(record, state) after each epoch, with the epoch's entry of the history; the training ends
            when it returns True. The state's buffers are donated to the next step: a callback copies what it keeps.
        progress: Whether to show a progress bar; there is none where standard error is not a terminal.
        checkpoints: Where to write checkpoints, and go on from. With the same arguments and data as before (an iterable
            must give the same batches again), the result has the bits that it would have without the interruption, on
            the same machine and versions.
        allow_nonfinite: Whether to train with NaN and infinite numbers in the data, of an iterable in its first batch.
        mesh: The devices that share each mini-batch, such as jax.make_mesh((8,), ("data",)): all its axes do. The
            result is that of one device, up to rounding; `BatchNorm` needs an axis_name for that. Arrays then stay on
            the host and go to the devices by parts. Of several processes each reads of them what its own devices train
            on, and an iterable gives in each process that process's part of the mini-batches, all of one size; an epoch
            ends with the shortest.
        shard_parameters: Whether the devices share the parameters and the optimiser's state as well (as in FSDP), each
            array along its largest axis that they divide.
        compilation_cache: A directory in which JAX keeps the compiled programs for later processes, such as
            "~/.cache/fnnet": the same training then compiles nothing anew, and has the same bits. None: what JAX's own
            settings say.

    Returns:
        The trained parameters and the history: for each epoch a dictionary with "epoch", "loss", "seconds", with
        integer labels "accuracy", and, with validation, "validation_loss", "validation_accuracy" (integer labels only)
        and "validation_<name>" for each of the metrics. Loss and accuracy are means over the epoch's mini-batches as
        they were trained on, dropout included. A loss that forms no outputs (`LinearSoftmaxCrossEntropy`) has no
        accuracy.

    Warns:
        TrainingWarning: Examples that the network reads as images look channels-first; the network ends in a softmax
            or sigmoid that the loss contains; an iterable gives fewer mini-batches in a later epoch, or several of
            fewer examples than its first.

    Raises:
        TypeError: The network, loss, optimiser, data, key or a directory is of a wrong type.
        ValueError: No data, data that do not match, are NaN or infinite, a mini-batch larger than the data or not
            divisible by `accumulate` and the mesh's devices; no block to recompute; checkpoints of another training, of
            more epochs, or in use by one; a loss that does not give one number per example, or hides its weights
            (`fnnet.mean_loss`); a directory that cannot be made.
        NonFiniteLossError: The loss is infinite or NaN; it names epoch and step. Or all examples of an epoch have
            weight 0.
        ProcessLostError: Another process of the training has ended.
    """
    at_least_one("fit", "epochs", epochs)
    at_least_one("fit", "batch_size", batch_size)
    at_least_one("fit", "accumulate", accumulate)
    recompute = as_flag("fit", "recompute", recompute)
    if patience is not None:
        at_least_one("fit", "patience", patience)
        if validation is None:
            raise ValueError("fit: patience needs validation data")
    as_network("fit", net)
    refuse_pair("fit", params)
    as_loss("fit", loss)
    if callback is not None and not (callable(callback) and takes(callback, None, None)):
        raise TypeError(f"fit: callback must be one function callback(record, state), not {described(callback)}")
    if checkpoints is not None and not hasattr(checkpoints, "resume"):
        raise TypeError(f"fit: checkpoints must be fnnet.Checkpoints(directory), not {described(checkpoints)}")
    optimizer, key = as_optimizer("fit", optimizer), as_key("fit", key)
    placement = placement_on("fit", mesh, shard_parameters)
    data, trained_loss = weighted("fit", as_data("fit", data), loss, sample_weight, placement)
    source = placement.source(data, batch_size, finite=not allow_nonfinite)
    placement.check("fit", source.batch_size, accumulate)
    average, measured = as_decay("fit", average), as_metrics("fit", metrics)
    if validation is not None:
        validation = as_data("fit", validation, "validation")
    elif measured:
        raise ValueError("fit: metrics need validation data; the history has loss and accuracy of the training")
    warn_of_channels_first(net, source.shape)
    warn_of_probabilities(net, loss)
    blocks = _recomputed(net) if recompute else net
    part, optimizer = part_of(blocks, optimizer, trainable, params, key, source.shape)
    if augment is not None:
        as_augment("fit", augment)
    trained = part if augment is None else Augmented(part, augment)
    if average is not None:
        optimizer = averaging(part, optimizer, average)
    state = start(net, optimizer, key, source.shape, params, placement)
    xs, ys = source.sample()
    check_loss("fit", net, loss, state.params, xs, plain_labels(ys))
    check_validation(net, loss, state.params, validation)
    if not allow_nonfinite:
        refuse_nonfinite("fit", xs=xs, ys=plain_labels(ys))
    pace, put = placement.pace(), placement.put
    with lost_ones_named("fit"), contextlib.nullcontext() if checkpoints is None else checkpoints:
        resumed = None if checkpoints is None else checkpoints.resume(state)
        if resumed is None:
            moment = Moment(state, put(nothing_yet()), [])
        else:
            best = None if resumed.best is None else (resumed.best[0], put(resumed.best[1]))
            moment = resumed._replace(state=put(resumed.state), tally=put(resumed.tally), best=best)
            _refuse_past(epochs, resumed)
            if average is not None:
                refuse_another_decay(resumed.state.opt_state, average)
        del state, resumed  # their buffers go with the first call
        history, best, since_best = moment.history, moment.best, moment.since_best
        warned = warned_of_size = False
        for epoch in range(int(moment.state.epoch) + 1, epochs + 1):
            if patience is not None and since_best >= patience:
                break  # it had ended before it was resumed
            began = time.perf_counter() - moment.seconds
            label = f"epoch {epoch}/{epochs}"
            programs = programs_for(trained, trained_loss, optimizer, accumulate, placement)
            state, tally = epoch_of(programs, source, moment, pace, label, progress, checkpoints)
            taken, before = int(tally.steps), int(state.step) - int(tally.steps)
            counting = taken - int(tally.empty)
            if not counting:
                raise NonFiniteLossError(f"fit: all examples of epoch {epoch} have weight 0", state, history)
            if not np.isfinite(tally.last_loss):
                raise NonFiniteLossError(
                    f"fit: the loss is {float(tally.last_loss)} in epoch {epoch}, step {int(tally.steps)}",
                    state,
                    history,
                )
            state = state._replace(epoch=put(jax.device_put(np.int32(epoch))))
            if source.steps is None and not warned and taken * (epoch - 1) < before:
                warned = True
                warn_of_shorter_epoch(epoch, taken, before / (epoch - 1))
            if source.left_out > 1 and not warned_of_size:
                warned_of_size = True
                warn_of_left_out(len(source.sample()[0]))
            record: dict[str, Any] = {"epoch": epoch, "loss": float(tally.loss_sum) / counting}
            if float(tally.counted):
                record["accuracy"] = float(tally.right) / float(tally.counted)
            result = _result(state, average)
            if validation is not None:
                where: dict[str, Any] = {"mesh": mesh, "shard_parameters": shard_parameters}
                scores = evaluate(net, result, loss, validation, metrics=metrics, **where)
                record |= {f"validation_{name}": value for name, value in scores.items()}
            record["seconds"] = time.perf_counter() - began
            history.append(record)
            if patience is not None:
                since_best += 1
                if best is None or record["validation_loss"] < best[0]:
                    best, since_best = (record["validation_loss"], jax.tree.map(jnp.copy, result)), 0
            stop = callback is not None and callback(record, state)
            ended = bool(stop) or epoch == epochs or (patience is not None and since_best >= patience)
            moment = Moment(state, put(nothing_yet()), history, best, since_best, ended=ended)
            if checkpoints is not None:
                checkpoints(moment)
            if ended:
                break
    return (_result(moment.state, average) if best is None else best[1]), History(history)


def _recomputed(net: Any) -> Any:
    """The network with its blocks recomputed; ValueError where it has none."""
    found = with_recomputed_blocks(net)
    if found is net:
        raise ValueError(
            f"fit: recompute=True needs a Residual or Repeat in net (={type(net).__name__}(...)); "
            "put fnnet.Recomputed(...) around layers of your choice instead"
        )
    return found


def _refuse_past(epochs: int, moment: Moment) -> None:
    """Raises ValueError where a checkpoint is later than the last epoch's end: those parameters are gone."""
    done, steps = int(moment.state.epoch), int(moment.tally.steps)
    if done + (steps > 0) > epochs:
        more = f" and {steps} steps" if steps else ""
        raise ValueError(
            f"fit: the newest checkpoint has {done} epochs{more} already; epochs (={epochs}) must be "
            f"{done + (steps > 0)} or more"
        )


def _result(state: State, average: float | None) -> Any:
    """The parameters that `fit` returns: the last step's, or their average."""
    return state.params if average is None else average_of(state.params, state.opt_state)
