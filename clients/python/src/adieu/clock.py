"""The clock that freshness is measured with: steady, and going on while the machine sleeps."""

import time
from collections.abc import Callable
from functools import partial

SECOND = 1_000_000_000
MILLISECOND = 1_000_000


def _steady() -> Callable[[], int]:
    # CLOCK_MONOTONIC stands still in suspend on Linux, and would then call an old index fresh. On macOS it is the one
    # that goes on, unlike what time.monotonic() reads there.
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        clock = getattr(time, name, None)
        if clock is not None:
            return partial(time.clock_gettime_ns, clock)
    return time.monotonic_ns


moment: Callable[[], int] = _steady()
"""Nanoseconds since some start. Means nothing in another machine or after a reboot."""
