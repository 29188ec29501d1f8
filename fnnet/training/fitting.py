"""Training: `fit` and `evaluate`. The pure functions under them are in steps.py.

An epoch is a sequence of calls of one compiled program, `run`: a loop on the device over some of the epoch's steps,
whose state is donated. How many steps a call takes is an argument, not a shape: it is chosen so that Python has the
word about twice a second (progress, signals, checkpoints), costs no compilation, and changes no bit of the result. The
loop ends by itself at the first loss that is not finite, with the state as it was before that step.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core.arguments import as_key, described
from fnnet.core.compiler import safe_options
from fnnet.core.habits import hinted
from fnnet.training.arguments import as_augment, as_data, as_loss, as_network, as_optimizer, is_pair
from fnnet.training.augmented import Augmented
from fnnet.training.averaging import as_decay, average_of, averaging
from fnnet.training.batches import Pace, matching, refuse_nonfinite
from fnnet.training.device_mesh import placement_on
from fnnet.training.history import History
from fnnet.training.loss_check import check_loss
from fnnet.training.metrics import Metric, Metrics, as_metrics
from fnnet.training.placement import Batch, Placement, Source
from fnnet.training.processes import lost_ones_named
from fnnet.training.resumption import Checkpoints, Moment
from fnnet.training.sample_weights import WeightedLabels, WeightedLoss, as_sample_weight, plain_labels
from fnnet.training.state import State, Tally, nothing_yet
from fnnet.training.steps import ONE_DEVICE, epoch_order, run, score, start
from fnnet.training.trainable import part_of
from fnnet.training.training_warnings import warn_of_channels_first, warn_of_probabilities, warn_of_shorter_epoch


class NonFiniteLossError(FloatingPointError):
    """The loss became infinite or NaN. `state` is from before that step, `history` of the epochs before."""

    def __init__(self, message: str, state: State, history: list[dict]):
        """The message names epoch and step."""
        super().__init__(message)
        self.state, self.history = state, history


@hinted
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
) -> tuple[Any, list[dict]]:
    """Train `net` by mini-batches: `jax.vmap` of a network of one example, gradients by the rules, steps by optax.

    Args:
        net: Has `init(key, shape) -> params` and `apply(params, x, *, key) -> output`, for one example; hashable.
        loss: loss(outputs, ys) -> one number per example, or the pair (losses, weights). A mini-batch's loss is their
            mean, as `fnnet.mean_loss` takes it; `jax.vmap` makes a loss of one example into such a loss.
        optimizer: Any optax transformation, with its schedules and clipping; or "adam", "adamw", "nadam", "rmsprop" or
            "sgd" for that of optax with Keras' default rate: 1e-3, for "sgd" 1e-2.
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
        params: Parameters to start from; not changed. None: from `net.init`.
        trainable: Which parameters are trained. The others keep their bits, without gradients or optimiser state: a
            tree of booleans like the parameters, in which one may stand for a whole layer; or a function of a
            parameter's name, such as `lambda name: name.startswith("dense_7/")`. None: all.
        sample_weight: A number of 0 or more for each example of arrays. Its loss is multiplied by it, and the sum over
            a mini-batch is divided by that of the weights. With an iterable, let the loss return (losses, weights).
        augment: augment(key, x) -> x changes an example in the training, such as `fnnet.data.Augment(shift=2)`; it is
            compiled into the step, and gets a key of its own for each example and step. Hashable.
        validation: Held-out data, evaluated after each epoch.
        metrics: What to measure on the validation data, such as ["top_5", "f1"], as in `evaluate`.
        average: The decay of an exponential moving average of the parameters over the steps, such as 0.999. Validation
            takes the average, and `fit` returns it. The state of `callback` has the last step's parameters.
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
        TypeError: The network, loss, optimiser, data or key is of a wrong type.
        ValueError: No data, data that do not match, are NaN or infinite, a mini-batch larger than the data or not
            divisible by `accumulate` and the mesh's devices; checkpoints of another training, or in use by one; a loss
            that does not give one number per example, or hides its weights (`fnnet.mean_loss`).
        NonFiniteLossError: The loss is infinite or NaN; it names epoch and step.
        ProcessLostError: Another process of the training has ended.
    """
    _at_least_one("fit", "epochs", epochs)
    _at_least_one("fit", "batch_size", batch_size)
    _at_least_one("fit", "accumulate", accumulate)
    if patience is not None:
        _at_least_one("fit", "patience", patience)
        if validation is None:
            raise ValueError("fit: patience needs validation data")
    as_network("fit", net)
    as_loss("fit", loss)
    if callback is not None and not callable(callback):
        raise TypeError(f"fit: callback must be one function callback(record, state), not {described(callback)}")
    if checkpoints is not None and not hasattr(checkpoints, "resume"):
        raise TypeError(f"fit: checkpoints must be fnnet.Checkpoints(directory), not {described(checkpoints)}")
    optimizer, key = as_optimizer("fit", optimizer), as_key("fit", key)
    placement = placement_on("fit", mesh, shard_parameters)
    data, trained_loss = _weighted("fit", as_data("fit", data), loss, sample_weight, placement)
    source = placement.source(data, batch_size, finite=not allow_nonfinite)
    placement.check("fit", source.batch_size, accumulate)
    average, measured = as_decay("fit", average), as_metrics("fit", metrics)
    if validation is not None:
        validation = as_data("fit", validation, "validation")
    elif measured:
        raise ValueError("fit: metrics need validation data; the history has loss and accuracy of the training")
    warn_of_channels_first(net, source.shape)
    warn_of_probabilities(net, loss)
    trained, optimizer = part_of(net, optimizer, trainable, params, key, source.shape)
    if augment is not None:
        as_augment("fit", augment)
        trained = Augmented(trained, augment)
    if average is not None:
        optimizer = averaging(optimizer, average)
    state = start(net, optimizer, key, source.shape, params, placement)
    xs, ys = source.sample()
    check_loss("fit", net, loss, state.params, xs, plain_labels(ys))
    _check_validation(net, loss, state.params, validation)
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
        del state, resumed  # their buffers go with the first call
        history, best, since_best, warned = moment.history, moment.best, moment.since_best, False
        for epoch in range(int(moment.state.epoch) + 1, epochs + 1):
            if patience is not None and since_best >= patience:
                break  # it had ended before it was resumed
            began = time.perf_counter() - moment.seconds
            label = f"epoch {epoch}/{epochs}"
            programs = _programs(trained, trained_loss, optimizer, accumulate, placement)
            state, tally = _epoch(programs, source, moment, pace, label, progress, checkpoints)
            taken, before = int(tally.steps), int(state.step) - int(tally.steps)
            if not np.isfinite(tally.last_loss):
                raise NonFiniteLossError(
                    f"fit: the loss is {float(tally.last_loss)} in epoch {epoch}, step {int(tally.steps)}",
                    state,
                    history,
                )
            if source.steps is None and not warned and taken * (epoch - 1) < before:
                warned = True
                warn_of_shorter_epoch(epoch, taken, before / (epoch - 1))
            record: dict[str, Any] = {"epoch": epoch, "loss": float(tally.loss_sum) / taken}
            if tally.counted > 0:
                record["accuracy"] = float(tally.right) / float(tally.counted)
            result = _result(net, state, average)
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
    return (_result(net, moment.state, average) if best is None else best[1]), History(history)


@hinted
def evaluate(
    net: Any,
    params: Any,
    loss: Callable,
    data: Batch | Iterable[Batch],
    *,
    batch_size: int = 256,
    sample_weight: Any = None,
    metrics: Metrics | None = None,
    mesh: jax.sharding.Mesh | None = None,
    shard_parameters: bool = False,
) -> dict[str, Any]:
    """Mean loss, with integer labels the accuracy, and the metrics, over every example of `data`.

    Args:
        net: As in `fit`; dropout is off.
        params: The network's parameters.
        loss: As in `fit`.
        data: The pair (xs, ys), or an iterable of such pairs of any sizes.
        batch_size: Examples computed at once; the result does not depend on it but for rounding.
        sample_weight: As in `fit`, for the loss. In the accuracy and the metrics an example of weight 0 does not count,
            and any other counts 1.
        metrics: A name, a function, several in a list, or a dictionary of names. Of classes, "accuracy", "top_5" (or
            another number), "precision", "recall" and "f1", the means over the classes as by scikit-learn's
            average="macro", and "confusion", the array whose entry [i, j] counts the examples of class i that are taken
            for class j. Of numbers "mean_absolute_error" and "mean_squared_error". A function metric(outputs, ys) gives
            one number, or one array, for each example; the result is their mean.
        mesh, shard_parameters: As in `fit`; of several processes each reads its devices' part of the arrays, and gives,
            of an iterable, its own part, in pieces of any sizes.

    Returns:
        {"loss": ..., "accuracy": ...}; the accuracy, the share of labels that are the place of the largest output, is
        there where ys are integers of the outputs' shape without the last axis. Examples of weight 0 (`ignore_index`)
        do not count. The metrics stand beside them under their names, as numbers, or as NumPy arrays.

    Raises:
        ValueError: No data, or data that do not match; a loss that `fit` would refuse.
    """
    _at_least_one("evaluate", "batch_size", batch_size)
    as_network("evaluate", net)
    as_loss("evaluate", loss)
    placement, measured = placement_on("evaluate", mesh, shard_parameters), as_metrics("evaluate", metrics)
    data, weighted_loss = _weighted("evaluate", as_data("evaluate", data), loss, sample_weight, placement)
    score = _programs(net, weighted_loss, placement=placement, metrics=measured).score
    at_once, pieces = placement.pieces(data, batch_size)
    totals = None
    for (xs, ys), examples in pieces:
        check_loss("evaluate", net, loss, params, xs[:1], plain_labels(ys))
        sums = score(params, *examples, batch_size=min(at_once, len(examples[0])))
        totals = sums if totals is None else jax.tree.map(jnp.add, totals, sums)
    if totals is None:
        raise ValueError("evaluate: data is empty")
    of_metrics = totals.pop("metrics")
    sums = {name: float(value) for name, value in totals.items()}
    scores: dict[str, Any] = {"loss": sums["loss"] / sums["weight"] if sums["weight"] else float("nan")}
    if sums["counted"]:
        scores["accuracy"] = sums["correct"] / sums["counted"]
    return scores | {metric.name: metric.value(of) for metric, of in zip(measured, of_metrics, strict=True)}


# Under the public functions.


class _Programs(NamedTuple):
    run: Callable
    order: Callable
    score: Callable


@functools.lru_cache(maxsize=32)
def _programs(
    net: Any,
    loss: Callable,
    optimizer: Any = None,
    accumulate: int = 1,
    placement: Placement = ONE_DEVICE,
    metrics: tuple[Metric, ...] = (),
) -> _Programs:
    """The compiled programs of one network, loss and optimiser: made once, so that an epoch compiles nothing."""
    ran = placement.staying(functools.partial(run, net, loss, optimizer, accumulate=accumulate, placement=placement))
    scored = functools.partial(score, net, loss, placement, metrics)
    return _Programs(
        jax.jit(ran, donate_argnums=(0, 1), compiler_options=safe_options()),
        jax.jit(epoch_order, static_argnums=(1, 2)),
        jax.jit(scored, static_argnames="batch_size", compiler_options=safe_options()),
    )


def _epoch(
    programs: _Programs,
    source: Source,
    moment: Moment,
    pace: Pace,
    label: str,
    progress: bool,
    checkpoints: Checkpoints | None,
) -> tuple[State, Tally]:
    """All steps of one epoch, or those that are left of it, or up to the first loss that is not finite."""
    state, tally, began = moment.state, moment.tally, time.perf_counter() - moment.seconds
    pace.begin(int(tally.steps))
    with _bar(label, source.steps, progress) as bar:
        if not pace.ran:
            bar.set_postfix_str("compiling")
        for xs, ys, rows, stops in source.epoch(programs.order, state, pace):
            for stop in stops:
                state, tally = programs.run(state, tally, xs, ys, rows, stop)
                if pace.due(stop):
                    done = int(tally.steps)
                    pace.reached(done)
                    bar.update(done - bar.n)
                    bar.set_postfix(loss=f"{float(tally.last_loss):.4f}", refresh=False)
                    if not np.isfinite(tally.last_loss):
                        return state, tally
                    if checkpoints is not None:
                        seconds = time.perf_counter() - began
                        checkpoints(moment._replace(state=state, tally=tally, seconds=seconds))
        bar.update(int(tally.steps) - bar.n)
    if int(tally.steps) == 0:
        raise ValueError("fit: data is empty in this epoch; an iterable must start anew each time it is iterated")
    return state._replace(epoch=state.epoch + 1), tally


def _weighted(
    function: str, data: Any, loss: Callable, sample_weight: Any, placement: Placement
) -> tuple[Any, Callable]:
    """Data and loss where each example has a weight."""
    if sample_weight is None:
        return data, loss
    if not is_pair(data) or placement.devices > 1:
        raise ValueError(
            f"{function}: sample_weight needs arrays (xs, ys) on one device; else let the loss return the pair "
            "(losses, weights)"
        )
    xs, ys = data
    return (xs, WeightedLabels(ys, as_sample_weight(function, sample_weight, ys))), WeightedLoss(loss)


def _check_validation(net: Any, loss: Callable, params: Any, validation: Any) -> None:
    """Raise before the training what `evaluate` would raise after an epoch of it."""
    if not is_pair(validation):
        return
    try:
        xs, ys = matching("fit", *validation)
        check_loss("fit", net, loss, params, xs[:1], ys)
    except (TypeError, ValueError) as error:
        error.add_note("These are the validation data of fit.")
        raise


def _result(net: Any, state: State, average: float | None) -> Any:
    """The parameters that `fit` returns: the last step's, or their average."""
    return state.params if average is None else average_of(net, state.params, state.opt_state, average)


def _at_least_one(function: str, argument: str, value: Any) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{function}: {argument} (={value!r}) must be an integer of 1 or more")


def _bar(label: str, steps: int | None, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=steps, desc=label, unit="step", leave=False, disable=None if progress else True)
