"""What notebooks show of summaries, histories, traces and reports."""

import re

import jax
import jax.numpy as jnp
import optax

import fnnet
from fnnet.core.notebook import html_details, html_paragraph, html_table
from fnnet.training.history import History

NET = fnnet.Sequential(fnnet.Dense(3))
XS, YS = jnp.ones((4, 2)), jnp.array([0, 1, 2, 0])


def rows(shown):
    return [re.findall(r"<t[hd][^>]*>([^<]*)<", line) for line in re.findall(r"<tr>.*?</tr>", shown)]


def test_text_is_escaped():
    shown = html_table(("<a>", "b"), [("x < y", "1")]) + html_paragraph("&", strong="<") + html_details("<", "a\n<")
    assert re.findall(r"<(\w+)", shown) == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td", "p",
                                            "strong", "details", "summary", "pre"]  # fmt: skip
    assert rows(shown) == [["&lt;a&gt;", "b"], ["x &lt; y", "1"]]


def test_of_a_summary():
    assert rows(NET.summary((2,))._repr_html_()) == [
        ["layer", "output", "parameters", "FLOPs", "kept bytes"],
        ["dense_0", "3", "9", "15", "8"],
        ["total", "", "9", "15", "8"],
    ]
    step = NET.summary((2,), batch=4)
    assert [row[0] for row in rows(step._repr_html_())] == ["layer", "dense_0", "adam", "total"]
    assert f"<p>{str(step).splitlines()[-1]}</p>" in step._repr_html_()


def test_a_history_is_a_list_and_a_table():
    records = [{"epoch": n, "loss": 1 / n} for n in range(1, 31)]
    history = History(records)
    assert history == records
    assert isinstance(history, list)
    shown = rows(history._repr_html_())
    assert shown[0] == ["epoch", "loss"]
    assert [row[0] for row in shown[1:]] == [*map(str, range(1, 11)), "...", *map(str, range(21, 31))]
    assert shown[2:4] == [["2", "0.5"], ["3", "0.3333"]]


def test_of_a_training_and_a_trace():
    loss = fnnet.softmax_cross_entropy
    params, history = fnnet.fit(NET, loss, optax.sgd(0.1), (XS, YS), key=jax.random.key(0), batch_size=4)
    assert rows(history._repr_html_())[0] == list(history[0])
    trace = fnnet.trace(NET, loss, params, XS, YS)
    shown = trace._repr_html_()
    assert [row[0] for row in rows(shown)] == ["layer", "dense_0", "", "", "loss"]
    assert f"<p>{str(trace).splitlines()[0]}</p>" in shown
    assert f"<strong>{str(trace).splitlines()[-1]}</strong>" in shown


def test_of_a_report():
    def backward(x, y_bar):
        return (x * y_bar,)

    report = fnnet.check((lambda x: (x * x, x), backward), jnp.arange(1.0, 6.0), checks="SPRF", name="square")
    assert repr(report) == str(report)
    heading, row = rows(report._repr_html_())
    assert heading == ["cotangent of", "what is wrong", "the worst entry", "found by"]
    assert row[:2] == ["x", "is the reference divided by 2"]
    assert re.match(r"x\[\d\]: rule .*, reference ", row[2])
    assert row[3] == "R reference, F finite differences"
    assert re.search(r"<strong[^>]*#cf222e[^>]*>wrong:</strong> square\(x f32\[5\]\)", report._repr_html_())
    right = fnnet.check(fnnet.tanh, XS, checks="S")
    assert rows(right._repr_html_()) == []
    assert re.search(r"<strong[^>]*#1a7f37[^>]*>right:</strong>", right._repr_html_())
