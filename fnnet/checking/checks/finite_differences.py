"""F: the slope along a random direction of each argument, against finite differences of the function itself."""

from fnnet.checking.report import Failure, number
from fnnet.checking.session import Session

TINY = 1e-300


def check(session: Session) -> None:
    """F: along one random direction for each argument, against finite differences of the function itself."""
    paths, places = session.subject.moving_paths(), session.subject.places
    session.compared |= {k for k, place in enumerate(places) if session.subject.leaves[place].size}
    for path, place, slope in zip(paths, places, session.slopes(), strict=True):
        found = slope.difference
        if not found.conclusive:
            session.not_conclusive.add(path)
            session.notes.append(f"F: inconclusive for {path}: {'a kink' if found.kink else 'two step sizes disagree'}")
            continue
        if slope.agrees:
            continue
        text = (
            f"along a random direction the rule's slope is {number(slope.rule)}, "
            f"finite differences give {number(found.value)}"
        )
        if session.is_reference_given and not session.settled and session.reference_stops_gradients():
            session.notes.append(f"F: {path}: {text}; the reference has a stop_gradient, and agrees with the rule")
            continue
        size, multiple = session.subject.leaves[place].size, slope.error / (slope.allowed or TINY)
        session.failures.append(Failure("F", path, "", text, None, slope.rule, None, found.value, multiple, size, size))
