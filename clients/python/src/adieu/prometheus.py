"""The numbers of blocklists for Prometheus, with the package `prometheus_client`.

>>> from adieu.prometheus import BlocklistCollector
>>> prometheus_client.REGISTRY.register(BlocklistCollector(BLOCKLIST))  # doctest: +SKIP
"""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adieu.blocklist import Blocklist
from adieu.figures import FIGURES


class BlocklistCollector(Collector):
    """Reads the numbers when they are asked for. The label `client` is the blocklist's `client_id`.

    Each process has its own: with several workers, ask each of them, or export the numbers of one.
    """

    def __init__(self, *blocklists: Blocklist) -> None:
        self._blocklists = blocklists

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yields the numbers without values."""
        for name, unit, description, _ in FIGURES:
            seconds = "_seconds" if unit == "s" else ""
            yield GaugeMetricFamily(f"adieu_blocklist_{name}{seconds}", description, labels=["client"])

    def collect(self) -> Iterator[Metric]:
        """Yields the numbers; the staleness is absent before the first snapshot."""
        for figure, family in zip(FIGURES, self.describe(), strict=True):
            for blocklist in self._blocklists:
                value = figure.value(blocklist)
                if value is not None:
                    family.add_metric([blocklist.client_id], value)
            yield family
