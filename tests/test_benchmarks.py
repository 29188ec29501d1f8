"""The benchmarks' harness: it refuses contestants that do not agree, and its tables say what was measured."""

import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from benchmarks import machine, verdicts, work
from benchmarks.agreement import Reference, departure, disagreements
from benchmarks.carry import carried
from benchmarks.clock import Sample, timed
from benchmarks.command import main
from benchmarks.contestants import load
from benchmarks.contestants.hand_written import HandWritten, sequential
from benchmarks.contestants.plain_lax import PlainLax, convolution
from benchmarks.crew import Failed, Worker, environment
from benchmarks.inputs import batches, noise
from benchmarks.nets import (
    NETS,
    Conv,
    Dense,
    Embedding,
    Flatten,
    LayerNorm,
    MeanPool,
    Net,
    Relu,
    normed,
    residual,
    shapes,
    transformer,
)
from benchmarks.report import best_rate, markdown
from benchmarks.results import Results
from benchmarks.rounds import Effort, Entry, Measured, measure
from benchmarks.tasks import Convolution, PerExample, Training, flat
from benchmarks.worker import Desk, Prepared

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
SHORT = Effort(repeats=2, block=0.0)


class Recorded:
    """A worker in this process that computes nothing: it answers as it is told, and remembers what it was asked."""

    setting, process = "default", "this"

    def __init__(self, contestant, losses, times=(), fails=None):
        self.contestant, self.losses, self.fails = contestant, np.array(losses), fails
        self.times, self.asked = iter(times), []

    def ask(self, request, *arguments, limit=None):
        self.asked.append(request)
        if request == self.fails:
            raise Failed("as planted")
        if request == "prepare":
            return 0, Prepared({"losses": self.losses}, Sample(3, 0.3, 0.6, 0.0, 0), {"temporary_bytes": 8})
        return Sample(3, next(self.times), 0.6, 0.0, 0)


def recorded(*workers, effort=SHORT):
    lines = []
    measured = measure([Entry(worker, "loop", lambda: None) for worker in workers], 1e-4, effort, lines.append)
    return {own.contestant: own for own in measured}, lines


def test_a_wrong_loss_is_not_timed():
    right = [Recorded(name, [2.5, 2.0, 1.5], times=(9, 0.3, 0.6)) for name in ("fnnet", "autodiff")]
    wrong = Recorded("flax", [2.5, 2.0, 1.501], times=(9, 0.1, 0.1))
    measured, lines = recorded(*right, wrong)
    assert wrong.asked == ["prepare"]
    assert measured["flax"].samples == []
    assert "losses[2] is 1.501" in measured["flax"].problem
    assert len(lines) == 1
    for worker in right:
        assert worker.asked == ["prepare", "time", "time", "time"]
        own = measured[worker.contestant]
        assert [sample.wall for sample in own.samples] == [0.3, 0.6]  # the first round does not count
        assert own.problem is None


def test_rounding_passes():
    measured, lines = recorded(
        Recorded("fnnet", [2.5, 2.0], times=(1, 1, 1)), Recorded("autodiff", [2.50001, 2.00001], times=(1, 1, 1))
    )
    assert lines == []
    assert all(len(own.samples) == 2 for own in measured.values())


@pytest.mark.parametrize("wrong", [[math.nan, 2.0], [2.5, math.inf], [2.5, 2.0, 1.5]])
def test_what_is_no_number_or_of_another_shape_does_not_agree(wrong):
    answers = {name: {"losses": np.array([2.5, 2.0])} for name in "abc"} | {"d": {"losses": np.array(wrong)}}
    assert list(disagreements(answers, 1e-4)) == ["d"]


def test_numbers_that_all_have_wrong_do_not_agree():
    answers = {name: {"losses": np.array([math.nan, 2.0])} for name in "ab"}
    assert set(disagreements(answers, 1e-4)) == {"a", "b"}


EXACT = np.array([3.0, 2.9, 2.7, 2.5])
# One of two courses takes another way at the last step.
FORKED = [
    np.add(EXACT, [0, 1e-7, 2e-7, 1e-7]),
    np.add(EXACT, [1e-7, 1e-7, 2e-7, 5e-4]),
]
COURSES = Reference({"losses": EXACT}, [{"losses": own} for own in FORKED])


@pytest.mark.parametrize("off", [[0, 0, 0, 5e-4], [0, 0, 0, -9e-4], [1e-6, 1e-6, 1e-6, 0], [0, 0, 0, 0]])
def test_rounding_may_lead_as_far_as_it_leads_autodiff(off):
    assert departure({"losses": np.add(EXACT, off)}, COURSES)[0] <= 1


def test_the_same_distance_is_refused_where_rounding_does_not_explain_it():
    share, line = departure({"losses": np.add(EXACT, [0, 5e-4, 5e-4, 5e-4])}, COURSES)
    assert share > 50
    assert "losses[2] is 2.7005, in double precision 2.7: " in line
    assert line.endswith("times the distance that rounding explains")
    assert departure({"losses": np.add(EXACT, [0, 0, 0, 5e-3])}, COURSES)[0] > 1


def test_an_answer_without_an_order_in_time_has_one_distance():
    reference = Reference({"norms": EXACT}, [{"norms": own} for own in FORKED])
    assert departure({"norms": np.add(EXACT, [5e-4, 0, 0, 0])}, reference)[0] <= 1


@pytest.mark.parametrize("wrong", [[math.nan, 2.9, 2.7, 2.5], [3.0, math.inf, 2.7, 2.5], [3.0, 2.9]])
def test_what_is_no_number_or_of_another_shape_is_infinitely_far(wrong):
    assert departure({"losses": np.array(wrong)}, COURSES)[0] == math.inf


def test_of_two_that_differ_neither_is_believed():
    assert set(disagreements({"a": {"y": np.ones(3)}, "b": {"y": 2 * np.ones(3)}}, 1e-4)) == {"a", "b"}


def test_a_contestant_that_fails_leaves_the_others():
    workers = [
        Recorded("fnnet", [1.0], times=(1, 1, 1)),
        Recorded("flax", [1.0], fails="prepare"),
        Recorded("torch", [1.0], fails="time"),
    ]
    measured, lines = recorded(*workers)
    assert len(measured["fnnet"].samples) == 2
    assert [measured[name].problem for name in ("flax", "torch")] == ["as planted"] * 2
    assert len(lines) == 2


def test_a_slow_program_is_not_run_again():
    slow, quick = Recorded("autodiff", [1.0]), Recorded("fnnet", [1.0], times=(0.1, 0.1, 0.1))
    measured, _ = recorded(slow, quick, effort=Effort(2, 0.0, patience=0.2))
    assert slow.asked == ["prepare"]
    assert [sample.wall for sample in measured["autodiff"].samples] == [0.3]
    assert len(measured["fnnet"].samples) == 1  # its first round and another were patience enough


class Lost(Recorded):
    """A worker whose process ends at its second program."""

    def ask(self, request, *arguments, limit=None):
        lost = self.asked == ["prepare"]
        self.process = None if lost else "another"
        answer = super().ask(request, *arguments)
        if lost:
            raise Failed("as planted")
        return (len(self.asked), answer[1]) if request == "prepare" else answer


def test_what_a_lost_process_had_ready_is_made_anew():
    worker = Lost("autodiff", [1.0], times=(1, 1, 1))
    loop, scan = measure([Entry(worker, mode, lambda: None) for mode in ("loop", "scan")], 1e-4, SHORT, print)
    assert worker.asked == ["prepare", "prepare", "prepare", "time", "time", "time"]
    assert (len(loop.samples), loop.problem) == (2, None)
    assert (scan.samples, scan.problem) == ([], "as planted")


def test_a_worker_that_takes_too_long_is_killed_and_starts_anew():
    worker = Worker("autodiff", "default")
    with pytest.raises(Failed, match="no answer within"):
        worker.ask("versions", limit=0.001)
    assert worker.process is None
    assert worker.ask("versions", limit=100)["jax"] == jax.__version__
    worker.stop()


class Here:
    """A worker in this process, with a library of its own."""

    setting, process = "default", "this"

    def __init__(self, contestant, library):
        self.contestant, self.desk = contestant, Desk.__new__(Desk)
        self.desk.contestant, self.desk.programs = library, {}
        self.timed = 0

    def ask(self, request, *arguments, limit=None):
        self.timed += request == "time"
        return getattr(self.desk, request)(*arguments)


class WithoutBias(PlainLax):
    """A planted error: the last layer's bias is forgotten, which shows from the second step on."""

    def _applied(self, layer, path, params, xs):
        if layer == Dense(10):
            return xs @ params[f"{path}kernel"]
        return super()._applied(layer, path, params, xs)


class WithAFactor(PlainLax):
    """A planted error: the last layer's gradient is 0.1 % too large, which Adam's steps and the losses do not show."""

    def _applied(self, layer, path, params, xs):
        ys = super()._applied(layer, path, params, xs)
        return ys + 1e-3 * (ys - jax.lax.stop_gradient(ys)) if layer == Dense(10) else ys


class RoundedOtherwise(PlainLax):
    """Right, but it adds in another order."""

    def _applied(self, layer, path, params, xs):
        if isinstance(layer, Dense):
            params = {name: own[::-1] if name == f"{path}kernel" else own for name, own in params.items()}
            xs = xs[:, ::-1]
        return super()._applied(layer, path, params, xs)


SMALL = Net("small", (6, 6, 2), (Conv(3, 3, 2, 1), Relu(), Flatten(), Dense(10)))


def small_arrays():
    params = sequential(SMALL).init(jax.random.key(0), SMALL.shape)
    return {f"{layer}/{entry}": np.asarray(own[entry]) for layer, own in params.items() for entry in own}


def test_double_precision_tells_a_wrong_contestant_from_one_that_rounds_otherwise():
    with jax.numpy_dtype_promotion("standard"):
        task = Training(SMALL, "loop", small_arrays(), *batches(SMALL, 3, 4))
        reference = PlainLax("reshape").reference(task, 3)
        assert reference.exact["losses"].dtype == np.float64
        assert len({tuple(own["losses"]) for own in reference.rounded}) > 1
        libraries = {
            "fnnet": HandWritten(),
            "autodiff": RoundedOtherwise("reshape"),
            "flax": WithoutBias("reshape"),
            "torch": WithAFactor("reshape"),
        }
        entries = [Entry(Here(name, own), "loop", lambda: task) for name, own in libraries.items()]
        measured = measure(entries, 0.0, SHORT, lambda line: None, reference)
    assert [own.problem is None for own in measured] == [True, True, False, False]
    assert "gradient is" in measured[3].problem
    assert all((own.facts["departure"] <= 1) == (own.problem is None) for own in measured)


def test_the_gradient_of_each_example_has_a_reference_too():
    with jax.numpy_dtype_promotion("standard"):
        (xs,), (ys,) = batches(SMALL, 1, 4)
        task = PerExample(SMALL, small_arrays(), xs, ys)
        reference = PlainLax("reshape").reference(task, 3)
        assert len(reference.rounded) == 1
        shares = {}
        for library in (HandWritten(), WithAFactor("reshape")):
            shares[type(library)] = departure(library.program(task).answers(), reference)[0]
    assert shares[HandWritten] <= 1 < shares[WithAFactor]


BLOCKS = *normed(4, 3), Relu(), *residual(4), *residual(6, 2), MeanPool(4), Flatten(), Dense(10)
RESIDUAL = Net("residual", (8, 8, 3), BLOCKS)
TEXT = Net("text", (6,), (Embedding(7, 8), *transformer(8, 2), LayerNorm(), Dense(7)))


def _first_pass(library, task):
    program = library.program(task)
    program.reset()
    return program.answers()


@pytest.mark.parametrize("net", [RESIDUAL, TEXT], ids=lambda net: net.name)
@pytest.mark.parametrize("contestant", ["fnnet", "torch-channels-last"])
def test_residual_nets_and_transformers_agree(net, contestant):
    if contestant != "fnnet":
        pytest.importorskip("torch")
    with jax.numpy_dtype_promotion("standard"):
        xs, ys = batches(net, 3, 4)
        reference = PlainLax("reshape").reference(Training(net, "loop", carried("autodiff", net, {}), xs, ys), 4)
        library = load(contestant)
        arrays = carried(contestant, net, library.shapes(net))
        share, line = departure(_first_pass(library, Training(net, "loop", arrays, xs, ys)), reference)
    assert share <= 1, line


@pytest.mark.parametrize(
    "case",
    [
        Convolution((2, 7, 6, 4), 6, 3, 2, 1, groups=2),
        Convolution((2, 9, 8, 4), 8, 3, 1, 2, dilation=2, groups=4),
        Convolution((2, 6, 6, 3), 5, 1, 2),
    ],
)
def test_the_convolution_in_double_precision(case):
    options = {name: getattr(case, name) for name in ("stride", "padding", "dilation", "groups")}
    x, kernel = noise(*case.shape, seed=0), noise(*case.kernel, seed=1)
    with jax.enable_x64(True):
        exact = convolution(jax.numpy.asarray(x, float), jax.numpy.asarray(kernel, float), **options)
    assert exact.dtype == np.float64
    np.testing.assert_allclose(exact, convolution(x, kernel, **options), rtol=0, atol=1e-5)


def test_a_planted_contestant_is_refused():
    net, arrays = SMALL, small_arrays()
    xs, ys = batches(net, 3, 4)
    with jax.numpy_dtype_promotion("standard"):
        workers = [
            Here("fnnet", HandWritten()),
            Here("autodiff", PlainLax("reduce_window")),
            Here("flax", WithoutBias("reduce_window")),
        ]
        entries = [
            Entry(worker, mode, lambda mode=mode: Training(net, mode, arrays, xs, ys))
            for worker in workers
            for mode in ("loop", "scan")
        ]
        measured = measure(entries, 1e-4, SHORT, lambda line: None)
    assert [bool(own.problem) for own in measured] == [False] * 4 + [True] * 2
    assert [worker.timed for worker in workers] == [6, 6, 0]
    assert all(own.facts["temporary_bytes"] > 0 for own in measured)


def test_clock():
    done, sample = timed(lambda: sum(range(10**6)), 5)
    assert done == sum(range(10**6))
    assert sample.units == 5
    assert sample.wall > 0
    assert sample.cpu > 0


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_shapes_and_parameters(net):
    own = sequential(net)
    params = jax.eval_shape(lambda: own.init(jax.random.key(0), net.shape))
    x = jax.ShapeDtypeStruct(net.shape, np.float32 if net.vocabulary is None else np.int32)
    assert shapes(net)[-1] == jax.eval_shape(own.apply, params, x).shape
    assert shapes(net)[-1] == ((10,) if net.vocabulary is None else (64, 96))
    named = {name: leaf.shape for name, leaf in flat(params).items()}
    statistics = ("/mean", "/variance")
    assert work.parameters(net) == sum(math.prod(own) for name, own in named.items() if not name.endswith(statistics))
    assert PlainLax("reshape").shapes(net) == named


def test_parameters_and_products_of_residual_nets_and_transformers():
    assert work.parameters(NETS["resnet"]) == 272_474  # He et al. (2016), table 6, has 0.27 million
    text = 6 * 4 * 8 * 8 + 2 * 6 * 6 * 8 + 6 * 2 * 8 * 32 + 6 * 8 * 7  # attention, two dense layers, the last one
    assert work.step_flops(TEXT, 5) == 2 * 5 * 3 * text


def test_tokens_come_with_the_next_ones():
    xs, ys = batches(TEXT, 2, 3)
    assert xs.shape == ys.shape == (2, 3, 6)
    assert (xs[..., 1:] == ys[..., :-1]).all()
    assert xs.max() < 7


def test_work():
    first, second = 784 * 512, 512 * 10
    assert work.step_flops(NETS["mlp"], 7) == 2 * 7 * (2 * first + 3 * second)  # the images need no gradient
    numbers = 7 * (2 * 784 + 3 * 512 + 2 * 512 + 2 * 10)
    assert work.step_bytes(NETS["mlp"], 7) == 4 * (numbers + 10 * (first + 512 + second + 10))
    net = Net("one", (5, 6, 4), (Conv(8, 3, 2, 1, groups=4),))
    assert work.step_flops(net, 1) == 2 * 2 * (3 * 3 * 8) * 9


def block(contestant, *milliseconds, setting="kept", mode="loop", facts=None, problem=None):
    samples = [Sample(10, own / 100, 2 * own / 100, 0.0, 40) for own in milliseconds]
    return Measured(contestant, setting, mode, samples, facts or {}, problem)


@pytest.fixture
def results(tmp_path):
    found = Results(tmp_path)
    found.add(
        "steps",
        "cnn 32",
        [
            block("fnnet", 4, 5, 9, facts={"temporary_bytes": 3e6}),
            block("fnnet", 2, 3, 4, mode="scan"),
            block("autodiff", 20, 30, 25, facts={"temporary_bytes": 12e6}),
            block("autodiff-reshape", 12, 10, 11, facts={"temporary_bytes": 10e6}),
            block("flax", 1, 1, 1, problem="does not agree"),
            block("torch-channels-last", 8, 10, 12),
            block("fnnet", 100, setting="default"),
        ],
    )
    found.add("steps", "cnn 512", [block("fnnet", 100, 100), block("autodiff", 150, 150)])
    found.add("limits", "product 1024", [block("autodiff", 20, 20, mode="call")])
    found.add("limits", "stream 1000000", [block("torch", 1, 1, mode="call")])
    return found


def test_ratios_are_of_the_fastest_way_of_each(results):
    page = markdown(results, {})
    kept = page.split("## Steps, glibc told to keep its memory: fnnet's time over the other's")[1].split("##")[0]
    assert [line for line in kept.splitlines() if line.startswith("| ")] == [
        "| steps | autodiff | autodiff-reshape | torch-channels-last |",
        "| --- | --- | --- | --- |",
        "| cnn 32 | 0.12 | 0.27 | 0.30 |",  # 3 ms in a scan; the median of 20, 30 and 25; not of what did not agree
        "| cnn 512 | 0.67 |  |  |",
    ]
    assert best_rate(results, "product", lambda size: 2 * size**3) == pytest.approx(2 * 1024**3 / 0.02)


def test_the_page(results, tmp_path):
    page = markdown(results, {"processor": "of some kind", "jax": "0.1"})
    assert "processor of some kind; jax 0.1" in page
    assert "| cnn 32 | 5 (4.5-7) | 25 (22.5-27.5) | 11 (10.5-11.5) | 10 (9-11) |" in page
    assert "- steps, cnn 32, flax, kept memory, loop: does not agree" in page
    assert "107 GFLOP/s in square products, 8.0 GB/s" in page
    again = Results(tmp_path)  # as the next run reads it
    assert markdown(again, {"processor": "of some kind", "jax": "0.1"}) == page


def test_the_verdicts(results):
    results.add("steps", "mlp 32", [block("fnnet", 21), block("torch", 20), block("torch alone", 19)])
    results.add("steps", "mlp 512", [block("torch", 20), block("flax", 20)])
    page = verdicts.page(results, {"jax": "0.1"})
    assert [line for line in page.splitlines() if line.startswith("| ")] == [
        "| net and batch | autodiff | PyTorch | PyTorch alone |",
        "| --- | --- | --- | --- |",
        "| cnn 32 | ahead, 0.27 | ahead, 0.30 | not measured |",  # the better autodiff; flax did not agree
        "| cnn 512 | ahead, 0.67 | not measured | not measured |",
        "| mlp 32 | not measured | level, 1.05 | behind, 1.11 |",
        "| mlp 512 | not measured | not measured | not measured |",
    ]
    sentences = [line for line in page.splitlines() if line.startswith("- ")]
    assert sentences == [
        "- Against autodiff fnnet is ahead on cnn (32, 512). Not measured: mlp (32, 512).",
        "- Against PyTorch fnnet is ahead on cnn (32); level on mlp (32). Not measured: cnn (512), mlp (512).",
        "- Against PyTorch alone fnnet is behind on mlp (32). Not measured: cnn (32, 512), mlp (512).",
    ]
    assert page.endswith("\n\njax 0.1\n")
    assert markdown(results, {}).startswith(verdicts.page(results, {}))


@pytest.mark.parametrize(
    ("ratio", "word"), [(0.94, "ahead"), (0.951, "level"), (1.049, "level"), (1.06, "behind"), (20.0, "behind")]
)
def test_within_a_twentieth_is_level(ratio, word):
    assert verdicts.verdict(ratio) == word


def test_the_summary_needs_nothing_but_records(results, tmp_path, capsys):
    assert main(["summary", "--output", str(tmp_path)]) == 0
    assert "| cnn 32 | ahead, 0.27 | ahead, 0.30 |" in capsys.readouterr().out
    assert main(["summary", "--output", str(tmp_path / "none")]) == 0
    assert "no training step of fnnet and of a peer in the records" in capsys.readouterr().out


def test_idle_threads_wait_passively_unless_they_are_alone(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert environment("kept", alone=False)["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "OMP_WAIT_POLICY" not in environment("kept", alone=True)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert [environment("kept", alone)["OMP_WAIT_POLICY"] for alone in (False, True)] == ["ACTIVE"] * 2


def test_the_share_of_the_devices_peak(results):
    rate = work.step_flops(NETS["cnn"], 512) / 0.1
    shown = f"| cnn 512 | fnnet | {rate / 1e9:.0f} |"
    page = markdown(results, {"device": "NVIDIA H100 80GB HBM3"})
    assert "its peak in f32: 66.9 TFLOP/s, nvidia.com" in page
    assert f"{shown} {100 * rate / 66.9e12:.1f} % |" in page
    assert "| cnn 32 | torch" not in page.split("its peak in f32")[1]
    assert f"{shown} unknown |" in markdown(results, {"device": "TPU v5 lite"})
    assert "## FLOPs a second on cpu; its peak in f32: unknown" in markdown(results, {"device": "cpu"})


def test_runs_of_two_machines_are_not_mixed(tmp_path):
    machine.keep(tmp_path / "run", {"jax": "1", "torch": "2"})
    assert machine.keep(tmp_path / "run", {"jax": "1", "flax": "3"}) == {"jax": "1", "torch": "2", "flax": "3"}
    with pytest.raises(ValueError, match="has records with jax 1; this run has 2"):
        machine.keep(tmp_path / "run", {"jax": "2"})


def run(tmp_path, environment, *arguments):
    paths = [str(EXPERIMENTS.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, EXPERIMENTS / "benchmarks", "--quick", "--output", tmp_path, *arguments],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Results(tmp_path), done.stdout


@pytest.mark.slow
def test_two_contestants_in_processes_of_their_own(tmp_path, users_environment):
    few = ("--nets", "mlp", "--peers", "fnnet", "autodiff", "--memory", "default", "--alone", "autodiff")
    results, printed = run(tmp_path, users_environment, *few, "--repeats", "2", "steps")
    for mode in ("loop", "scan"):
        assert results.summary("steps", "mlp 4", "autodiff alone", "default", mode).blocks == 2
    assert "| autodiff | autodiff alone |" in printed
    for contestant in ("fnnet", "autodiff"):
        for mode in ("loop", "scan"):
            assert results.summary("steps", "mlp 4", contestant, "default", mode).blocks == 2
    assert (tmp_path / "table.md").read_text() in printed


@pytest.mark.slow
def test_all_contestants_that_are_installed(tmp_path, users_environment):
    results, _ = run(tmp_path, users_environment)
    for part in ("limits", "steps", "per-example", "rules", "drop-in", "first-step"):
        for record in results.of(part):
            assert record["samples"] or record["unsupported"], record
