"""R: every entry of every cotangent, against autodiff of the reference."""

import functools

from fnnet.checking.compilation.usual_options import compare_compiled
from fnnet.checking.judgement import judge
from fnnet.checking.programs import is_wide
from fnnet.checking.session import Session, jittered

COTANGENTS = 3


def check(session: Session) -> None:
    """R: three Gaussian cotangents at the example, and one at arguments near it; the first compiled, too."""
    session.reference_pull  # noqa: B018 -- raises NotRun without one
    leaves = session.example
    near = jittered(leaves, session.rng("near"))
    runs = [(leaves, session.output_bars(leaves, n), "") for n in range(COTANGENTS)]
    runs.append((near, session.output_bars(near, "near"), "near the example"))
    for at, bars, circumstance in runs:
        before = len(session.failures)
        judge(session, "R", at, bars, circumstance, previous=leaves if at is near else None)
        paths = session.subject.moving_paths()
        for failure in session.failures[before:]:
            for k in [paths.index(failure.argument)] if failure.argument in paths else range(len(paths)):
                session.settled.setdefault(k, failure)
        if len(session.settled) == len(paths):
            return
    if not any(failure.check == "R" for failure in session.failures):
        wide, bars = is_wide(leaves), runs[0][1]
        programs = session.programs.usual_pull[wide], session.programs.pull[wide]
        paths = session.subject.moving_paths()
        allowed = functools.cache(lambda: session.expected(leaves, bars).bar_allowed)
        compare_compiled(session, "R", *programs, (leaves, bars), lambda pulled: pulled[1], paths, allowed)
