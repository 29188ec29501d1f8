"""Rules that others published, as entries for docs/published_rules.md: how each is called, and what is known of it."""

from published_rules.elsewhere import ELSEWHERE
from published_rules.entry import Entry as Entry
from published_rules.in_jax import FUNCTIONS, SPECIAL
from published_rules.in_optax import LOSSES, PROJECTIONS
from published_rules.in_pallas import PALLAS
from published_rules.layers import EQUINOX, LINEN, NNX

ENTRIES: list[Entry] = [*FUNCTIONS, *SPECIAL, *LOSSES, *PROJECTIONS, *LINEN, *NNX, *EQUINOX, *PALLAS, *ELSEWHERE]
