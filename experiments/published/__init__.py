"""Rules that others published, as entries for published_rules.py: what to call with what, and what is known of it."""

from published.elsewhere import ELSEWHERE
from published.entry import Entry as Entry
from published.in_jax import FUNCTIONS, SPECIAL
from published.in_optax import LOSSES, PROJECTIONS
from published.in_pallas import PALLAS
from published.layers import EQUINOX, LINEN, NNX

ENTRIES: list[Entry] = [
    *FUNCTIONS,
    *SPECIAL,
    *LOSSES,
    *PROJECTIONS,
    *LINEN,
    *NNX,
    *EQUINOX,
    *PALLAS,
    *ELSEWHERE,
]
