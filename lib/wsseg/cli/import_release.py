"""``wsseg import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsseg.cli.common import errors, printed
from wsseg.cli.progress import bar
from wsseg.errors import WssegError


def import_release(
    format: Annotated[str, typer.Argument(help="kaggle-3m, acdc, monuseg or brats; or adm.")],
    source: Annotated[Path, typer.Argument(metavar="DIR", help="The release as downloaded; of adm, the file.")],
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
) -> None:
    """Turn a public release's own layout into ours, or the published diffusion model (adm) into a package."""
    with errors.status("loading"):
        from wsseg.data.importers import IMPORTERS

    if format == "adm":
        from wsseg.training.planning.backbone import import_adm

        printed.print(f"{import_adm(source, out).folder}", highlight=False, soft_wrap=True)
        return
    if format not in IMPORTERS:
        raise WssegError(f'format "{format}" is unknown, known are: {", ".join([*IMPORTERS, "adm"])}')
    with bar("importing") as progress:
        count = IMPORTERS[format](source, out, progress)
    printed.print(f"{count} cases in {out}", highlight=False, soft_wrap=True)
