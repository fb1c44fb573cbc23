"""One series of an archive, from the archive to its result's place there."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

from wsseg.archive.destination import Destination, deliver
from wsseg.archive.web.client import Pacs
from wsseg.archive.web.replies import RefusedError
from wsseg.archive.work import Claim, Outcome
from wsseg.errors import FullError, UnavailableError, WssegError, naming
from wsseg.images.dicom.series import read_series
from wsseg.images.scan import check_scan
from wsseg.inference.segmenter import Segmenter
from wsseg.inference.summary import Summary


class SeriesSegmenter:
    """A loaded model between an archive and a destination.

    Several threads may call it: one computes, meanwhile others fetch and send.

    Args:
        segmenter: the model.
        pacs: where series come from.
        destination: where DICOM SEGs and SRs go.
    """

    def __init__(self, segmenter: Segmenter, pacs: Pacs, destination: Destination) -> None:
        self._segmenter = segmenter
        self._pacs = pacs
        self._destination = destination
        self._computing = threading.Lock()

    def __call__(self, claim: Claim) -> Outcome:
        """Segment a series; whatever goes wrong is its outcome."""
        started = time.perf_counter()
        try:
            summary = self._segment(claim)
        except Exception as error:  # whatever a library makes of a series, the next one is segmented
            seconds = time.perf_counter() - started
            return Outcome(claim.id, seconds, error=_sentence(error), passing=_is_passing(error))
        return Outcome(claim.id, time.perf_counter() - started, summary.sizes, summary.certainty)

    def _segment(self, claim: Claim) -> Summary:
        with tempfile.TemporaryDirectory(prefix="wsseg-") as name, naming(Path(name), claim.series.uid):
            self._pacs.fetch(claim.series, Path(name))
            scan = read_series(Path(name))
            check_scan(scan.volume, scan.series_uid)
            with self._computing:
                result = self._segmenter(scan.volume)
            deliver(self._destination, result, scan, self._segmenter.package)
            return Summary.of(result)


def _sentence(error: Exception) -> str:
    """An error of ours as it is; of others the kind alone, since libraries quote what stands in the file."""
    return str(error) if isinstance(error, WssegError) else f"cannot be segmented ({type(error).__name__})"


def _is_passing(error: Exception) -> bool:
    return isinstance(error, (UnavailableError, FullError)) and not isinstance(error, RefusedError)
