"""The notebooks run; each exercise says what is missing, and its solution is graded right."""

import time

import jax
import matplotlib.pyplot as plt
import notebooks
import pytest

from fnnet.checking import Report

LONGEST = 180  # seconds of one notebook
NAMES = ("backpropagation", "train_and_look_inside", "write_a_rule")

# Of each exercise: what the report says before it is solved, and the lines that solve it.
EXERCISES = {
    "neuron-exercise": (
        ["w: is zero", "b: is zero"],
        {"w_bar = 0 * w": "w_bar = s_bar * x", "b_bar = 0 * s_bar": "b_bar = s_bar"},
    ),
    "relu-exercise": (
        ["z: is the reference with z in absolute value: it is wrong where z is negative"],
        {"z_bar = y_bar": "z_bar = jnp.where(z > 0, y_bar, 0)"},
    ),
    "sigmoid-exercise": (["z: is zero"], {"z_bar = 0 * y_bar": "z_bar = y_bar * y * (1 - y)"}),
    "dense-exercise": (
        ["bias: has shape (4, 2); bias has (2,): the sum over axis 0 is missing"],
        {
            "x_bar = 0 * x": "x_bar = y_bar @ kernel.T",
            "kernel_bar = 0 * kernel": "kernel_bar = x.T @ y_bar",
            "bias_bar = y_bar": "bias_bar = y_bar.sum(0)",
        },
    ),
    "loss-exercise": (
        ["logits: is wrong at 4 of 20 entries, and right at the others"],
        {"logits_bar = loss_bar[:, None] * p": "logits_bar = loss_bar[:, None] * (p - t)"},
    ),
    "pooling-exercise": (
        ["x: is not zero at 4 of 8 entries where it should be, and right at the others"],
        {"x_bar = jnp.stack([y_bar, y_bar], -1)": ("x_bar = jnp.where(pairs == y[:, None], y_bar[:, None], 0)")},
    ),
    "convolution-exercise": (
        ["x: is the reference with w flipped on axis 0", "w: is zero"],
        {
            'x_bar = jnp.convolve(y_bar, w[::-1], "full")': 'x_bar = jnp.convolve(y_bar, w, "full")',
            "w_bar = 0 * w": 'w_bar = jnp.correlate(x, y_bar, "valid")',
        },
    ),
}
SECOND_STEP = ["x: is zero", "kernel: is zero"]  # what the report of the dense layer says once the bias is right
REPORTS = {  # what the other reports say
    "missing-sum": ("wrong", "slope: has shape (4, 3); slope has (3,): the sum over axis 0 is missing"),
    "wrong-slope": ("wrong", "z: is zero at "),
    "other-shapes": ("wrong", "B shapes: "),
    "right-rule": ("right", "right"),
    "own-convolution": ("right", "right"),
}


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """shown(notebook): what each cell shows, by its id; exercises as they stand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))

    def values(notebook):
        names, found = {"__name__": "notebook"}, {}
        with jax.numpy_dtype_promotion("standard"):
            for cell, source in notebooks.code(notebook).items():
                value = notebooks.run(source, names, f"{notebook.name}, {cell}")
                found[cell] = names.get("report") if value is None and "print(report)" in source else value
        return found, names

    return values


def test_there_are_three():
    assert tuple(notebook.stem for notebook in notebooks.NOTEBOOKS) == NAMES


@pytest.mark.parametrize("notebook", notebooks.NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_kept_and_fnnet_is_installed_first(notebook):
    """The site runs them as it is built, so that what it shows is of this version."""
    cells = notebooks.content(notebook)["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
    assert '%pip install --quiet "./fnnet-repository[train]"' in "".join(cells[1]["source"])
    assert "".join(cells[0]["source"]).startswith("# ")


@pytest.mark.slow
@pytest.mark.parametrize("notebook", notebooks.NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(notebook, shown):
    begin = time.perf_counter()
    values, names = shown(notebook)
    assert time.perf_counter() - begin < LONGEST
    for cell, (verdict, words) in REPORTS.items():
        if cell in values:
            assert values[cell].verdict == verdict, values[cell]
            assert words in str(values[cell])
    for value in values.values():
        if hasattr(value, "_repr_html_"):
            assert value._repr_html_().startswith("<")
    if "evaluate" in values:
        assert values["evaluate"]["accuracy"] > 0.95
    if "history" in names:
        assert names["history"][-1]["validation_accuracy"] > 0.93


@pytest.mark.slow
@pytest.mark.parametrize("exercise", EXERCISES)
def test_exercises_are_graded(exercise, shown):
    cells = notebooks.code(notebooks.FOLDER / "backpropagation.ipynb")
    said, solution = EXERCISES[exercise]
    names = {"__name__": "notebook"}
    with jax.numpy_dtype_promotion("standard"):
        for cell in ("imports", "neuron-forward"):
            notebooks.run(cells[cell], names, cell)
        unsolved = notebooks.run(cells[exercise], names, exercise)
        assert isinstance(unsolved, Report)
        assert unsolved.verdict == "wrong"
        assert [
            f"{failure.argument}: {failure.diagnosis}" for failure in unsolved.failures if failure.check in "SR"
        ] == said
        if exercise == "dense-exercise":
            halfway = notebooks.run(
                solved(cells[exercise], {"bias_bar = y_bar": "bias_bar = y_bar.sum(0)"}), names, exercise
            )
            assert [
                f"{failure.argument}: {failure.diagnosis}" for failure in halfway.failures if failure.check == "R"
            ] == (SECOND_STEP)
        graded = notebooks.run(solved(cells[exercise], solution), names, exercise)
    assert graded.verdict == "right", graded


def solved(cell, solution):
    """The cell with its holes filled in."""
    for hole, line in solution.items():
        assert cell.count(f"    {hole}  # fill in\n") == 1, hole
        cell = cell.replace(f"    {hole}  # fill in\n", f"    {line}\n")
    return cell


def test_every_hole_is_an_exercise():
    cells = notebooks.code(notebooks.FOLDER / "backpropagation.ipynb")
    assert {name for name, cell in cells.items() if "# fill in" in cell} == set(EXERCISES)
    for name, (_, solution) in EXERCISES.items():
        assert "# fill in" not in solved(cells[name], solution)
