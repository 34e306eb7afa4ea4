"""The numbers of blocklists for OpenTelemetry, with the package `opentelemetry-api`.

>>> from adieu.opentelemetry import observe
>>> observe(opentelemetry.metrics.get_meter("adieu"), BLOCKLIST)  # doctest: +SKIP
"""

from collections.abc import Callable, Iterator

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from adieu.blocklist import Blocklist
from adieu.figures import FIGURES, Figure


def observe(meter: Meter, *blocklists: Blocklist) -> None:
    """Adds the numbers as gauges, which are read at each collection.

    The attribute `client` is the blocklist's `client_id`. The staleness is absent before the first snapshot. Each
    process has its own numbers.
    """
    for figure in FIGURES:
        meter.create_observable_gauge(
            f"adieu.blocklist.{figure.name}",
            callbacks=[_callback(figure, blocklists)],
            unit=figure.unit,
            description=figure.description,
        )


def _callback(figure: Figure, blocklists: tuple[Blocklist, ...]) -> Callable[[CallbackOptions], Iterator[Observation]]:
    def read(_: CallbackOptions) -> Iterator[Observation]:
        for blocklist in blocklists:
            value = figure.value(blocklist)
            if value is not None:
                yield Observation(value, {"client": blocklist.client_id})

    return read
