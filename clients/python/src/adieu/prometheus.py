"""The numbers of blocklists for Prometheus, with the package `prometheus_client`.

>>> from adieu.prometheus import BlocklistCollector
>>> prometheus_client.REGISTRY.register(BlocklistCollector(BLOCKLIST))  # doctest: +SKIP
"""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adieu.blocklist import Blocklist


class BlocklistCollector(Collector):
    """Reads the numbers when they are asked for. The label `client` is the blocklist's `client_id`.

    Each process has its own: with several workers, ask each of them, or export the numbers of one.
    """

    def __init__(self, *blocklists: Blocklist) -> None:
        self._blocklists = blocklists

    def describe(self) -> Iterator[Metric]:
        """Yields the numbers without values."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """Yields the numbers; the staleness is absent before the first snapshot."""
        fresh, staleness, entries = families = self._families()
        for blocklist in self._blocklists:
            labels = [blocklist.client_id]
            fresh.add_metric(labels, blocklist.is_fresh)
            entries.add_metric(labels, len(blocklist))
            seconds = blocklist.staleness
            if seconds is not None:
                staleness.add_metric(labels, seconds)
        yield from families

    @staticmethod
    def _families() -> list[GaugeMetricFamily]:
        return [
            GaugeMetricFamily(f"adieu_blocklist_{name}", text, labels=["client"])
            for name, text in (
                ("fresh", "Whether the memory is within the bound."),
                ("staleness_seconds", "How long ago the memory was known to be complete."),
                ("entries", "The number of remembered ids."),
            )
        ]
