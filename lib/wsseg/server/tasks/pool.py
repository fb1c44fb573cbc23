"""What models say of scans that wait for labels, looked up in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from wsseg.errors import UnavailableError, WssegError
from wsseg.images.scan import read_scan
from wsseg.inference.active import ScanSummary
from wsseg.models.package import ModelPackage
from wsseg.server.compute import Compute, devices
from wsseg.server.security.request_log import nameless
from wsseg.server.studies.studies import Studies

logger = logging.getLogger(__name__)


@dataclass
class _Notes:
    """What one version of a model said; None of a scan that cannot be used."""

    version: str
    summaries: dict[str, ScanSummary | None] = field(default_factory=dict)


class PoolInference:
    """Looks at scans one after the other, between those that people want segmented.

    What was said is kept in memory until the model has another version.

    Args:
        compute: shared with all that segments.
        studies: the scans.
    """

    def __init__(self, compute: Compute, studies: Studies) -> None:
        self._compute = compute
        self._studies = studies
        self._notes: dict[tuple[str, bool], _Notes] = {}
        self._wanted: list[str] = []
        self._changed = threading.Condition()
        self._thread = ThreadPoolExecutor(1, "pool")

    def summaries(
        self, package: ModelPackage, scans: Sequence[str], mask: bool, seconds: float
    ) -> Mapping[str, ScanSummary]:
        """What is known of scans, after some seconds at the latest; the rest is looked at after that.

        Args:
            package: trained.
            scans: in the order in which they are looked at; those of an earlier
                call that are not among them are dropped.
            mask: see :meth:`Segmenter.summarize`.
            seconds: to wait.
        """
        with self._changed:
            notes = self._of_version(package.name, mask, package.metadata.version)
            self._wanted = [scan for scan in scans if scan not in notes.summaries]
            if self._wanted:
                self._thread.submit(self._work, package, mask, self._wanted)
                self._changed.wait_for(lambda: all(scan in notes.summaries for scan in scans), seconds)
            return {scan: summary for scan in scans if (summary := notes.summaries.get(scan)) is not None}

    def unusable(self, package: ModelPackage, mask: bool) -> set[str]:
        """Scans that were looked at in vain: those that are damaged."""
        with self._changed:
            notes = self._of_version(package.name, mask, package.metadata.version)
            return {scan for scan, summary in notes.summaries.items() if summary is None}

    def _of_version(self, model: str, mask: bool, version: str) -> _Notes:
        notes = self._notes.get((model, mask))
        if notes is None or notes.version != version:
            notes = self._notes[model, mask] = _Notes(version)
        return notes

    def _work(self, package: ModelPackage, mask: bool, wanted: list[str]) -> None:
        for scan in wanted:
            if wanted is not self._wanted:  # other scans were asked for since
                return
            try:
                version, summary = self._summarize(package, mask, scan)
            except UnavailableError:
                return
            except Exception as error:  # an archive's client raises whatever it likes; the next call tries again
                logger.warning("a scan cannot be looked at now (%s)", nameless(error, scan))
                return
            with self._changed:
                self._of_version(package.name, mask, version).summaries[scan] = summary
                self._changed.notify_all()

    def _summarize(self, package: ModelPackage, mask: bool, scan: str) -> tuple[str, ScanSummary | None]:
        try:
            volume = read_scan(self._studies.path(scan))
            return self._compute.summarize(package.name, devices()[0], volume, mask)
        except UnavailableError:
            raise
        except WssegError as error:
            logger.warning("a scan is not proposed (%s)", nameless(error, scan))
        return package.metadata.version, None
