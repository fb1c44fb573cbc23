"""``wsseg labels import`` and ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsseg.cli.common import errors, printed
from wsseg.models.shelf import find_package

_Model = Annotated[str, typer.Argument(help="Model whose classes the labels are of.")]
_Studies = Annotated[Path, typer.Option(help="Folder of scans that the server works on.")]


def import_labels(
    name: _Model,
    source: Annotated[Path, typer.Argument(metavar="DIR", help="image_labels.csv and <scan>_scribble files.")],
    studies: _Studies,
    annotator: Annotated[str, typer.Option(help="Whose labels they are.")] = "import",
) -> None:
    """Take weak labels from files into the server's database; what fits no scan is left out and named."""
    from wsseg.images.folder import scan_files
    from wsseg.labels.engine import open_store
    from wsseg.labels.exchange import Files
    from wsseg.labels.exchange import import_labels as take
    from wsseg.labels.project import Project

    package = find_package(name)
    files = Files(scan_files(studies), package.recipe.axis)
    result = take(open_store(Project.of_folder(studies)), source, files, package.labels, annotator)
    for sentence in result.left_out:
        errors.print(f"left out: {sentence}", highlight=False, soft_wrap=True, markup=False)
    printed.print(f"{len(result.taken)} files of labels taken over", highlight=False)


def export_labels(
    name: _Model,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    studies: _Studies,
) -> None:
    """Write weak labels into files, as `import` and `wsseg train` read them."""
    from wsseg.images.folder import scan_files
    from wsseg.labels.engine import open_store
    from wsseg.labels.exchange import Files
    from wsseg.labels.exchange import export_labels as write
    from wsseg.labels.project import Project

    package = find_package(name)
    files = Files(scan_files(studies), package.recipe.axis)
    written = write(open_store(Project.of_folder(studies)), out, files, package.labels)
    printed.print(f"{len(written)} files of labels in {out}", highlight=False, soft_wrap=True)
