"""``wsseg segment`` of many scans."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wsseg.cli.common import errors, printed
from wsseg.cli.progress import LongBar
from wsseg.errors import WssegError

if TYPE_CHECKING:
    from wsseg.inference.many import ManyProgress

SOME_FAILED = 1
"""Exit code; 2 is for what stops everything."""


def is_many(scan: Path, out: Path) -> bool:
    """Whether a folder or a table is to be segmented into a folder."""
    from wsseg.images.formats.table import MASKS
    from wsseg.images.listing import TABLE
    from wsseg.images.scan import SEG

    if scan.suffix.lower() == TABLE:
        return True
    return scan.is_dir() and (out.is_dir() or not out.name.lower().endswith((*MASKS, SEG)))


def refuse_given(options: Mapping[str, object], why: str) -> None:
    """Refuse options that do not belong to what is asked for."""
    for name, value in options.items():
        if value:
            raise WssegError(f"{name}: {why}")


def segment_all(
    place: Path, out: Path, model: str, device: str | None, match: str | None, refuse: bool, force: bool
) -> None:
    """Segment every scan of a folder or a table; leaves with ``SOME_FAILED`` if some failed."""
    with errors.status("loading"):
        from wsseg.images.listing import find_scans
        from wsseg.inference.many import segment_many
        from wsseg.inference.results import FILE
        from wsseg.inference.segmenter import Segmenter

        sources = find_scans(place, match, out)
        segmenter = Segmenter(model, device)
    bar = LongBar(errors)

    def report(progress: ManyProgress) -> None:
        counted = f"{progress.done} of {progress.total}"
        failed = f"{progress.failed} failed" if progress.failed else ""
        bar.tell("segmenting", (counted, failed), progress.done / progress.total, progress.seconds_left)

    try:
        end = segment_many(sources, segmenter, out, report, refuse, force)
    finally:
        bar.stop()
    printed.print(f"{out / FILE}", highlight=False, soft_wrap=True)
    if end.failed:
        errors.print(
            f"{end.failed} of {end.total} scans failed, {out / FILE} says why", highlight=False, soft_wrap=True
        )
        raise typer.Exit(SOME_FAILED)
