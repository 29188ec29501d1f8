"""R: every entry of every cotangent, against autodiff of the reference."""

import functools

from fnnet.checking.compilation.usual_options import Compiled, compare_compiled
from fnnet.checking.cotangent import Trial
from fnnet.checking.judgement import judge
from fnnet.checking.leaves import is_wide, jittered
from fnnet.checking.session import Session

COTANGENTS = 3


def check(session: Session) -> None:
    """Three Gaussian cotangents at the example, and one at arguments near it; the first compiled, too."""
    session.need_reference()
    findings, paths, leaves = session.findings, session.subject.gradient_paths, session.example
    near = jittered(leaves, session.options.rng("near"))
    trials = [Trial("R", leaves, session.output_bars(leaves, n)) for n in range(COTANGENTS)]
    trials.append(Trial("R", near, session.output_bars(near, "near"), "near the example", previous=leaves))
    for trial in trials:
        before = len(findings.failures)
        judge(session, trial)
        for failure in findings.failures[before:]:
            for k in [paths.index(failure.argument)] if failure.argument in paths else range(len(paths)):
                findings.known_wrong.setdefault(k, failure)
        if len(findings.known_wrong) == len(paths):
            return
    if not findings.has_failed("R"):
        wide, bars = is_wide(leaves), trials[0].output_bars
        usual, safe = session.programs.usual_pull[wide], session.programs.pull[wide]
        allowed = functools.cache(lambda: session.expected(leaves, bars).bar_allowed)
        compiled = Compiled("R", usual, safe, (leaves, bars), paths, lambda pulled: pulled[1])
        compare_compiled(session, compiled, allowed)
