"""What a server counts, for Prometheus: routes as they are declared and models, never a scan, a patient or a user."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from wsseg.archive.overview import Standing
from wsseg.archive.work import State
from wsseg.errors import UnavailableError

registry = CollectorRegistry()
"""Ours alone: MONAI Label's libraries count nothing here."""

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

requests = Counter("wsseg_requests", "Requests answered", ("method", "route", "status"), registry=registry)
request_seconds = Histogram(
    "wsseg_request_seconds", "From request to answer", ("route",), buckets=_SECONDS, registry=registry
)
masks = Counter("wsseg_masks", "Masks made", ("model", "version"), registry=registry)
failures = Counter("wsseg_mask_failures", "Scans that could not be segmented", ("model",), registry=registry)
mask_seconds = Histogram(
    "wsseg_mask_seconds", "Computing one mask, without waiting", ("model",), buckets=_SECONDS, registry=registry
)
queue = Gauge("wsseg_queue", "Scans that wait for a device or are computed on it", ("device",), registry=registry)


def method(name: str) -> str:
    """An HTTP method as it is counted: clients may send any word, and each would be a series of its own."""
    return name if name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"


@contextmanager
def queued(device: str) -> Iterator[None]:
    """Count a scan from when it is asked for to when it is computed."""
    with queue.labels(device).track_inprogress():
        yield


@contextmanager
def computed(model: str, version: str) -> Iterator[None]:
    """Time one mask and count it, or its failure."""
    began = time.perf_counter()
    with failures.labels(model).count_exceptions():
        yield
    mask_seconds.labels(model).observe(time.perf_counter() - began)
    masks.labels(model, version).inc()


class Standings(Collector):
    """Versions in use and series of campaigns, as they stand.

    Args:
        versions: of the models on offer, by name.
        standings: asks for campaigns over archives.
    """

    def __init__(self, versions: dict[str, str], standings: Callable[[], list[Standing]]) -> None:
        self._versions = versions
        self._standings = standings

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing: the database is asked when this is collected, not when it is registered."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As they are now; without the campaigns while the database is down."""
        models = GaugeMetricFamily("wsseg_model", "Version in use, always 1", labels=("model", "version"))
        for name, version in self._versions.items():
            models.add_metric((name, version), 1)
        yield models
        series = GaugeMetricFamily(
            "wsseg_archive_series", "Series of a campaign", labels=("campaign", "model", "version", "state")
        )
        try:
            found = self._standings()
        except UnavailableError:
            return
        for each in found:
            for state in State:
                labels = (str(each.id), each.campaign.model, each.campaign.version, state.value)
                series.add_metric(labels, getattr(each.counts, state.value))
        yield series
