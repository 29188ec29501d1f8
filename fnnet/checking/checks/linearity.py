"""L: a backward is linear in its cotangent, whatever the function: of 0 it is 0, of 2^k g it is 2^k times that of g."""

import numpy as np

from fnnet.checking.entries import index_of
from fnnet.checking.leaves import all_wide, largest
from fnnet.checking.report import number
from fnnet.checking.session import Session
from fnnet.checking.tolerance import ULPS_ALLOWED, precision

POWERS, POWERS_OF_SINGLE = (-20, 20), (-6, 6)
ULPS = 256


def check(session: Session) -> None:
    """Zero, scaling by powers of two both ways, and addition; nothing is evaluated but the rule itself."""
    leaves = session.working
    drawn = [session.output_bars(leaves, "linearity", n) for n in range(2)]
    g, h = map(all_wide, drawn)

    def bars(output_bars: list) -> list[np.ndarray]:
        rounded = [np.asarray(b, like.dtype) for b, like in zip(output_bars, drawn[0], strict=True)]
        return all_wide(session.pull(leaves, rounded)[1])

    of_g, of_h = bars(g), bars(h)
    cases = [("of a zero cotangent it is not zero", bars([0 * b for b in g]), [0 * b for b in of_g])]
    for k in POWERS if session.can.takes_doubles else POWERS_OF_SINGLE:
        scaled = [b / 2.0**k for b in bars([b * 2.0**k for b in g])]
        cases.append((f"of 2^{k} times a cotangent it is not 2^{k} times itself", scaled, of_g))
    of_sum = bars([a + b for a, b in zip(g, h, strict=True)])
    sums = [a + b for a, b in zip(of_g, of_h, strict=True)]
    cases.append(("of a sum of two cotangents it is not the sum", of_sum, sums))
    eps = precision(leaves)
    for k, path in enumerate(session.subject.gradient_paths):
        size = max(largest(v[k]) for v in (of_g, of_h))
        # A cotangent may be zero but for rounding: what cancelled to make it zero leaves its rounding.
        allowed = eps * (ULPS * size + ULPS_ALLOWED * max(float(np.abs(b).max(initial=0)) for b in g))
        for text, ours, theirs in cases:
            bar, expected = ours[k], theirs[k]
            with np.errstate(invalid="ignore"):
                error = np.where(np.isfinite(of_g[k]) & np.isfinite(of_h[k]), np.abs(bar - expected), 0)
            wrong = ~(error <= allowed)
            if wrong.any():
                entry = index_of(np.argmax(np.nan_to_num(error, nan=np.inf)), error.shape)
                values = f"{number(bar[entry])}, not {number(expected[entry])}"
                session.findings.fail(
                    "L",
                    f"is not linear in the output's cotangent: {text} ({values})",
                    argument=path,
                    entry=entry,
                    rule=bar[entry].item(),
                    multiple=float(error[entry] / allowed),
                    wrong=int(wrong.sum()),
                    size=wrong.size,
                )
                break
