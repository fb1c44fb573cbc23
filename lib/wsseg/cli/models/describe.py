"""``wsseg describe``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsseg.cli.common import errors, printed
from wsseg.cli.progress import bar
from wsseg.errors import WssegError

if TYPE_CHECKING:
    from wsseg.models.package import ModelPackage


def describe(
    model: Annotated[str, typer.Argument(help="As `wsseg models` lists it, or a package's folder.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the scans that it was trained on.")] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="Folder of labelled scans that it was not trained on, with masks at best.")
    ] = None,
) -> None:
    """Write into a package what its training scans looked like (--data), and how far it may be believed (--held-out).

    `train` does both by itself, the latter from the labels that it holds back.
    """
    from wsseg.models.shelf import find_package

    if data is None and held_out is None:
        raise WssegError("--data or --held-out: name a folder of scans, there is nothing to describe the model by")
    package = find_package(model)
    if data is not None:
        _describe(package, data)
    if held_out is not None:
        _calibrate(package, held_out)


def _describe(package: ModelPackage, data: Path) -> None:
    with errors.status("loading"):
        from wsseg.inference.quality.fits import LEAST_PATIENTS
        from wsseg.methods.registry import load_method
        from wsseg.models.domain import DOMAIN, write_domain
        from wsseg.training.assessment import describe as of_training

    with bar("reading scans") as progress:
        domain = of_training.describe(load_method(package), package.recipe, data, progress=progress)
    if domain is None:
        raise WssegError(
            f"{data}: holds scans of fewer than {LEAST_PATIENTS} patients, too few to say what others should look like"
        )
    write_domain(package.folder, domain)
    printed.print(f"{package.folder / DOMAIN}", highlight=False, soft_wrap=True)


def _calibrate(package: ModelPackage, held_out: Path) -> None:
    with errors.status("loading"):
        from wsseg.inference.segmenter import Segmenter
        from wsseg.models.calibration import CALIBRATION, write_calibration
        from wsseg.training.assessment.calibrate import calibration_of, compare

    with bar("segmenting") as progress:
        compared = compare(Segmenter(package.folder, calibrated=False), held_out, progress=progress)
    calibration = calibration_of(compared, package.labels.names)
    if calibration is None:
        raise WssegError(f"{held_out}: no scan has a label of {', '.join(package.labels.names)} to compare masks with")
    write_calibration(package.folder, calibration)
    printed.print(f"{package.folder / CALIBRATION}", highlight=False, soft_wrap=True)
