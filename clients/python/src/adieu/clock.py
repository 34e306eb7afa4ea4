"""The clock for freshness: steady, and advancing while the machine sleeps."""

import time
from collections.abc import Callable
from functools import partial

SECOND = 1_000_000_000
MILLISECOND = 1_000_000


def _steady() -> Callable[[], int]:
    # On Linux, CLOCK_MONOTONIC stops during suspend, and an old index would then count as fresh. On macOS, it is the
    # clock that advances, unlike the one of time.monotonic().
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        clock = getattr(time, name, None)
        if clock is not None:
            return partial(time.clock_gettime_ns, clock)
    return time.monotonic_ns


moment: Callable[[], int] = _steady()
"""Returns nanoseconds since an unspecified start. Not comparable between machines or across a reboot."""
