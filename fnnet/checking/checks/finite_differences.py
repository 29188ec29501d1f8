"""F: the slope along a random direction of each argument, against finite differences of the function itself."""

from fnnet.checking.report import number
from fnnet.checking.session import Session

TINY = 1e-300


def check(session: Session) -> None:
    """One direction for each argument that has a gradient."""
    subject, findings = session.subject, session.findings
    findings.compared |= {k for k, leaf in enumerate(subject.select(subject.leaves)) if leaf.size}
    for path, leaf, slope in zip(subject.gradient_paths, subject.select(subject.leaves), session.slopes, strict=True):
        found = slope.difference
        if not found.conclusive:
            findings.not_conclusive.add(path)
            findings.note("F", f"inconclusive for {path}: {'a kink' if found.kink else 'two step sizes disagree'}")
            continue
        if slope.agrees:
            continue
        text = (
            f"along a random direction the rule's slope is {number(slope.rule)}, "
            f"finite differences give {number(found.value)}"
        )
        if session.is_reference_given and not findings.known_wrong and session.reference_stops_gradients():
            findings.note("F", f"{path}: {text}; the reference has a stop_gradient, and agrees with the rule")
            continue
        findings.fail(
            "F",
            text,
            argument=path,
            rule=slope.rule,
            differences=found.value,
            multiple=slope.error / (slope.allowed or TINY),
            wrong=leaf.size,
            size=leaf.size,
        )
