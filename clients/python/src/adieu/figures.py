"""The numbers of a blocklist for metrics."""

from collections.abc import Callable
from typing import NamedTuple

from adieu.blocklist import Blocklist


class Figure(NamedTuple):
    """A number; `value` returns None while it is not known."""

    name: str
    unit: str
    description: str
    value: Callable[[Blocklist], float | None]


FIGURES = (
    Figure("fresh", "", "Whether the memory is within the bound.", lambda one: int(one.is_fresh)),
    Figure("staleness", "s", "How long ago the memory was known to be complete.", lambda one: one.staleness),
    Figure("entries", "", "The number of remembered ids.", len),
)
