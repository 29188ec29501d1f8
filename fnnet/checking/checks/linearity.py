"""L: a backward is linear in its cotangent, whatever the function: of 0 it is 0, of 2^k g it is 2^k times that of g."""

from collections.abc import Sequence

import numpy as np

from fnnet.checking.programs import as_wide
from fnnet.checking.report import Failure, number
from fnnet.checking.session import Session
from fnnet.checking.tolerance import ULPS_ALLOWED, precision

POWERS = (-20, 20)
ULPS = 256


def check(session: Session) -> None:
    """Zero, scaling by powers of two both ways, and addition; nothing but the rule itself is asked."""
    leaves = session.working
    g, h = (as_wide_list(session.output_bars(leaves, "linearity", n)) for n in range(2))
    dtypes = [b.dtype for b in session.output_bars(leaves, "linearity", 0)]

    def bars(output_bars: list) -> list[np.ndarray]:
        rounded = [np.asarray(b, d) for b, d in zip(output_bars, dtypes, strict=True)]
        return as_wide_list(session.pull(leaves, rounded)[1])

    powers = POWERS if session.takes_doubles else (-6, 6)
    of_g, of_h = bars(g), bars(h)
    cases = [("of a zero cotangent it is not zero", bars([0 * b for b in g]), [0 * b for b in of_g])]
    for k in powers:
        cases.append(
            (
                f"of 2^{k} times a cotangent it is not 2^{k} times itself",
                [b / 2.0**k for b in bars([b * 2.0**k for b in g])],
                of_g,
            )
        )
    summed = [a + b for a, b in zip(g, h, strict=True)]
    cases.append(
        ("of a sum of two cotangents it is not the sum", bars(summed), [a + b for a, b in zip(of_g, of_h, strict=True)])
    )
    eps = precision(leaves)
    for k, path in enumerate(session.subject.moving_paths()):
        size = max(float(np.abs(v[k][np.isfinite(v[k])]).max(initial=0)) for v in (of_g, of_h))
        # Of a cotangent that is zero but for rounding, what cancelled to make it so stays.
        allowed = eps * (ULPS * size + ULPS_ALLOWED * max(float(np.abs(b).max(initial=0)) for b in g))
        for text, ours, theirs in cases:
            bar, expected = ours[k], theirs[k]
            with np.errstate(invalid="ignore"):
                error = np.where(np.isfinite(of_g[k]) & np.isfinite(of_h[k]), np.abs(bar - expected), 0)
            wrong = ~(error <= allowed)
            if wrong.any():
                entry = tuple(
                    int(i) for i in np.unravel_index(np.argmax(np.nan_to_num(error, nan=np.inf)), error.shape)
                )
                multiple = float(error[entry] / allowed)
                values = f"{number(bar[entry])}, not {number(expected[entry])}"
                said, value = f"is not linear in the output's cotangent: {text} ({values})", bar[entry].item()
                count = int(wrong.sum()), wrong.size
                session.failures.append(Failure("L", path, "", said, entry, value, None, None, multiple, *count))
                break


def as_wide_list(arrays: Sequence) -> list[np.ndarray]:
    """The arrays in double precision."""
    return [as_wide(a) for a in arrays]
