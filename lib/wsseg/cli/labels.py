"""``wsseg labels import`` and ``export``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from wsseg.cli.common import errors, printed
from wsseg.errors import WssegError

_Model = Annotated[str, typer.Argument(help="Model whose classes the labels are of.")]
_Studies = Annotated[Path, typer.Option(help="Folder of scans that the server works on.")]


def import_labels(
    name: _Model,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="image_labels.csv, boxes.csv, points.csv, <scan>_scribble and <scan>_correction files.",
        ),
    ],
    studies: _Studies,
    annotator: Annotated[str, typer.Option(help="Whose labels they are.")] = "import",
    codes: Annotated[
        str, typer.Option("--map", metavar="CODES", help="What foreign stroke codes mean: 0=255,4=0 (255: background).")
    ] = "",
) -> None:
    """Take weak labels from files into the server's database; what fits no scan is left out and named."""
    from wsseg.images.folder import scan_files
    from wsseg.labels.database.engine import open_store
    from wsseg.labels.exchange import Files
    from wsseg.labels.exchange import import_labels as take
    from wsseg.labels.project import Project
    from wsseg.models.shelf import find_package

    package = find_package(name)
    files = Files(scan_files(studies), package.recipe.axis)
    result = take(open_store(Project.of_folder(studies)), source, files, package.labels, annotator, _codes(codes))
    for sentence in result.left_out:
        errors.print(f"left out: {sentence}", highlight=False, soft_wrap=True, markup=False)
    printed.print(f"{len(result.taken)} files of labels taken over", highlight=False)


def _codes(text: str) -> dict[int, int]:
    """``0=255,4=0`` as numbers."""
    found: dict[int, int] = {}
    for part in filter(None, text.split(",")):
        pair = re.fullmatch(r"\s*(\d{1,5})\s*=\s*(\d{1,3})\s*", part)
        if not pair or int(pair[1]) in found:
            raise WssegError(f"--map {text}: must be like 0=255,4=0, each code once")
        found[int(pair[1])] = int(pair[2])
    return found


def export_labels(
    name: _Model,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    studies: _Studies,
) -> None:
    """Write weak labels into files, as `import` and `wsseg train` read them."""
    from wsseg.images.folder import scan_files
    from wsseg.labels.database.engine import open_store
    from wsseg.labels.exchange import Files
    from wsseg.labels.exchange import export_labels as write
    from wsseg.labels.project import Project
    from wsseg.models.shelf import find_package

    package = find_package(name)
    files = Files(scan_files(studies), package.recipe.axis)
    written = write(open_store(Project.of_folder(studies)), out, files, package.labels)
    printed.print(f"{len(written)} files of labels in {out}", highlight=False, soft_wrap=True)
