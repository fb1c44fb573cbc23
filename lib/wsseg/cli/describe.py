"""``wsseg describe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsseg.cli.common import errors, printed
from wsseg.cli.progress import bar
from wsseg.errors import WssegError
from wsseg.models.shelf import find_package


def describe(
    model: Annotated[str, typer.Argument(help="As `wsseg models` lists it, or a package's folder.")],
    data: Annotated[Path, typer.Option(help="Folder of the scans that it was trained on.")],
) -> None:
    """Write into a package what its training scans looked like, by which it knows others; `train` does so by itself."""
    with errors.status("loading"):
        from wsseg.inference.fits import LEAST_PATIENTS
        from wsseg.methods.registry import load_method
        from wsseg.models.domain import DOMAIN, write_domain
        from wsseg.training import describe as of_training

    package = find_package(model)
    with bar("reading scans") as progress:
        domain = of_training.describe(load_method(package), package.recipe, data, progress=progress)
    if domain is None:
        raise WssegError(
            f"{data}: holds scans of fewer than {LEAST_PATIENTS} patients, too few to say what others should look like"
        )
    write_domain(package.folder, domain)
    printed.print(f"{package.folder / DOMAIN}", highlight=False, soft_wrap=True)
