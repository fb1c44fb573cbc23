"""Many scans through one loaded model: the next is read and the last is written while one is computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from wsseg.errors import FullError, WssegError
from wsseg.files import held, make_folder
from wsseg.images.listing import Source
from wsseg.images.scan import Scan, write_any
from wsseg.inference.result import Segmentation
from wsseg.inference.results import Outcome, Results, sentence_of
from wsseg.inference.segmenter import Segmenter
from wsseg.inference.summary import Summary


@dataclass(frozen=True)
class ManyProgress:
    """How far a run is.

    Attributes:
        done: scans behind, those of earlier runs and failures included.
        failed: of them, in this run.
        total: scans in all.
        seconds_left: at the pace of this run; None before its first scan.
    """

    done: int
    failed: int
    total: int
    seconds_left: float | None


Report = Callable[[ManyProgress], None]


def segment_many(
    sources: Sequence[Source],
    segmenter: Segmenter,
    out: Path,
    report: Report,
    refuse: bool = False,
    force: bool = False,
) -> ManyProgress:
    """Segment scans into a folder, one mask and one row of ``results.csv`` each.

    A scan that fails is a row too and stops nothing. What an earlier run has
    done is not done again, unless its mask is gone or the scan is newer.

    Args:
        sources: the scans.
        segmenter: the model.
        out: folder, made if need be.
        report: how far it is, after each scan.
        refuse: fail scans that are not of the kind that the model was trained on.
        force: segment scans whose DICOM header says another modality or body part.

    Raises:
        WssegError: results of another model, or somebody else's run, are there.
        FullError: there is no more room.
    """
    make_folder(out)
    with held(out) as ours:
        if not ours:
            raise WssegError(f"{out}: another run writes its results there, wait for it or give another folder")
        results = Results(out, segmenter.package, sources)
        try:
            return _Run(len(sources), segmenter, out, results, report, refuse, force).run()
        finally:
            results.close()


class _Run:
    """One run over the scans that are not done yet."""

    def __init__(
        self, total: int, segmenter: Segmenter, out: Path, results: Results, report: Report, refuse: bool, force: bool
    ) -> None:
        self._todo = results.todo
        self._total = total
        self._segmenter = segmenter
        self._out = out
        self._results = results
        self._report = report
        self._refuse = refuse
        self._force = force
        self._failed = self._finished = 0
        self._started = time.monotonic()

    def run(self) -> ManyProgress:
        self._report(self._progress())
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            last: Future[Outcome] | None = None
            for source, reading in _ahead(reader, self._todo):
                writing = self._computed(source, reading, writer)
                if last is not None:
                    self._note(last.result())
                last = writing
            if last is not None:
                self._note(last.result())
        return self._progress()

    def _computed(
        self, source: Source, reading: Future[tuple[Scan, float]], writer: ThreadPoolExecutor
    ) -> Future[Outcome]:
        """Segment a scan that is being read; its mask is on its way then."""
        seconds = 0.0
        try:
            scan, seconds = reading.result()
            started = time.perf_counter()
            result = self._segmenter(scan.volume, refuse=self._refuse, force=self._force)
            seconds += time.perf_counter() - started
        except Exception as error:  # whatever a library makes of a scan, the next one is segmented
            return writer.submit(self._failure, source, seconds, sentence_of(error, self._out))
        return writer.submit(self._written, source, scan, result, seconds)

    def _failure(self, source: Source, seconds: float, error: str) -> Outcome:
        return Outcome(source.case, source.mask(), seconds, error=error)

    def _written(self, source: Source, scan: Scan, result: Segmentation, seconds: float) -> Outcome:
        started = time.perf_counter()
        mask = self._out / source.mask()
        try:
            make_folder(mask.parent)
            write_any(mask, result.mask, scan, result.segments(self._segmenter.package))
        except FullError:
            raise
        except Exception as error:
            return self._failure(source, seconds, sentence_of(error, self._out))
        seconds += time.perf_counter() - started
        return Outcome(source.case, source.mask(), seconds, Summary.of(result))

    def _note(self, outcome: Outcome) -> None:
        self._results.add(outcome)
        self._finished += 1
        self._failed += bool(outcome.error)
        self._report(self._progress())

    def _progress(self) -> ManyProgress:
        left = len(self._todo) - self._finished
        pace = (time.monotonic() - self._started) / self._finished if self._finished else None
        return ManyProgress(self._total - left, self._failed, self._total, None if pace is None else pace * left)


def _ahead(
    reader: ThreadPoolExecutor, sources: Sequence[Source]
) -> Iterator[tuple[Source, Future[tuple[Scan, float]]]]:
    """Each scan as it is read, the next one begun when it is handed out, no more: a scan may take a GiB."""
    coming = [reader.submit(_read, source) for source in sources[:1]]
    for index, source in enumerate(sources):
        reading = coming.pop()
        reading.exception()  # begun only when this one is here, so that two are never read at once
        coming = [reader.submit(_read, following) for following in sources[index + 1 : index + 2]]
        yield source, reading


def _read(source: Source) -> tuple[Scan, float]:
    """The scan, and the seconds that it took."""
    started = time.perf_counter()
    return source.read(), time.perf_counter() - started
