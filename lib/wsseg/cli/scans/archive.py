"""``wsseg archive``."""

from __future__ import annotations

import logging
import signal
import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.logging import RichHandler

from wsseg.cli.common import MaxScanGb, allow, errors, printed
from wsseg.cli.progress import LongBar
from wsseg.cli.scans.many import SOME_FAILED
from wsseg.errors import WssegError

if TYPE_CHECKING:
    from wsseg.archive.run import RunProgress
    from wsseg.models.package import Recipe

RECONNECT = 5.0
"""Seconds before a scheduler that is gone is looked for again."""


def archive(
    url: Annotated[str, typer.Argument(help="Of the archive's DICOMweb services.")],
    model: Annotated[str, typer.Option(help="As `wsseg models` lists it.")],
    query: Annotated[
        list[str] | None,
        typer.Option(help="Attribute that series must have, KEYWORD=VALUE; several times for several."),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Another archive's URL, TITLE@host:port or a folder; by default back to URL.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="On this machine; one a GPU, or a core.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Of a Dask cluster: tls://host:8786.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Do not end: go on with what arrives.")] = False,
    again_where: Annotated[
        Literal["failed", "doubtful"] | None,
        typer.Option(help="Only what failed before, or what the version before this was least sure of."),
    ] = None,
    max_scan_gb: MaxScanGb = None,
) -> None:
    """Segment an archive's series into DICOM SEG and SR, each exactly once; a run that was killed goes on where it was.

    Exit code 1 says that some failed.
    """
    allow(max_scan_gb)
    with errors.status("loading"):
        from wsseg.archive.cluster import HandlerPlugin, ModelHandler, connected
        from wsseg.archive.destination import address_of, open_destination
        from wsseg.archive.listing import Listing
        from wsseg.archive.run import LostError, Run
        from wsseg.archive.web.client import Pacs
        from wsseg.archive.work import Campaign, Work
        from wsseg.labels.database.engine import open_database
        from wsseg.labels.project import Project
        from wsseg.models.shelf import find_package

    package = find_package(model)
    filters = _filters(query or [], package.recipe)
    pacs = Pacs(url)
    pacs.check()
    destination = address_of(to or pacs.url)
    place = open_destination(destination)
    place.check()
    version = package.metadata.version
    work = Work(open_database(), Campaign(Project.of_archive(pacs.url).id, package.name, version, destination))
    if again_where:
        again = work.retry() if again_where == "failed" else work.take_doubtful()
        errors.print(f"{again} series again", highlight=False)
    shown = RichHandler(console=errors, show_time=False, show_level=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[shown])
    logging.getLogger("distributed").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bar = LongBar(errors)
    listing = None if again_where else Listing(work, pacs, filters)
    run = Run(work, listing, (pacs, place), follow, lambda progress: _tell(bar, progress))
    plugin = HandlerPlugin(f"wsseg {package.name} {version}", ModelHandler.of(package, pacs.url, destination))
    try:
        while True:
            try:
                with connected(scheduler, workers) as client:
                    counts = run.go(client, plugin)
                break
            except LostError as error:
                errors.print(f"{error}, looking for it again", highlight=False, soft_wrap=True)
                time.sleep(RECONNECT)
    finally:
        bar.stop()
    printed.print(f"{counts.done} of {counts.total} series segmented, {counts.failed} failed", highlight=False)
    if counts.failed:
        raise typer.Exit(SOME_FAILED)


def _filters(query: list[str], recipe: Recipe) -> dict[str, str]:
    """What series must be: as asked for, and of the model's modality unless another is named."""
    from pydicom.datadict import tag_for_keyword

    from wsseg.models.package import dicom_modality

    if recipe.colour:
        raise WssegError("--model: reads pictures, an archive's series are volumes")
    found = {"Modality": dicom_modality(recipe.modality)}
    for pair in query:
        keyword, sign, value = pair.partition("=")
        if not sign or tag_for_keyword(keyword) is None:
            raise WssegError(f"--query {pair}: must be a DICOM keyword and a value, as in BodyPartExamined=BRAIN")
        found[keyword] = value
    return found


def _tell(bar: LongBar, progress: RunProgress) -> None:
    counts = progress.counts
    words = (
        f"{counts.done} of {counts.total}" + ("" if progress.listed else ", listing"),
        f"{counts.failed} failed" if counts.failed else "",
        progress.note,
    )
    bar.tell("segmenting", words, (counts.done + counts.failed) / max(counts.total, 1), progress.seconds_left)
