"""The words of a trace's page."""

import re

from fnnet.tracing.page.glossary import GLOSSARY

ASKED = """cotangent, y_bar, gradient, residual, Residual, forward, backward, loss, logit, probability, rms, update,
learning rate, kernel, bias, receptive field, tap, stride, mini-batch, dtype, autodiff, finite differences, kink,
attention weights, query, key, value, token, hidden state, normalisation statistics, tangent"""


def test_each_word_has_one_short_sentence():
    assert set(GLOSSARY) == set(re.split(r",\s", ASKED))
    for term, sentence in GLOSSARY.items():
        assert re.fullmatch(r"[A-Z][^.]+\.", sentence), term
        assert len(sentence) < 160, term
        assert not sentence.lower().startswith(f"{term.lower()} "), term
