"""``wsseg segment``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsseg.cli.common import MaxScanGb, allow, errors, printed, write_json
from wsseg.cli.progress import bar
from wsseg.cli.scans.many import is_many, refuse_given, segment_all
from wsseg.errors import WssegError
from wsseg.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from wsseg.images.scan import Scan
    from wsseg.inference.result import Segmentation


def segment(
    scan: Annotated[
        Path,
        typer.Argument(
            help="NIfTI, NRRD, PNG, JPEG, TIFF, or a folder of one DICOM series; "
            "or many: any folder, a BIDS tree, a CSV with a column scan."
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="Mask: .nii.gz, .nii, .nrrd, .png of a picture, .dcm (SEG) of DICOM; of many a folder of masks."
        ),
    ],
    model: Annotated[str, typer.Option(help="As `wsseg models` lists it.")] = DEFAULT_MODEL,
    presence: Annotated[Path | None, typer.Option(help="CSV: case, slice, one column per class; of one scan.")] = None,
    text: Annotated[str, typer.Option(help="Sentence for models that read one.")] = "",
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; a GPU where there is one.")] = None,
    preview: Annotated[Path | None, typer.Option(help="PNG of slices with the mask.")] = None,
    uncertainty: Annotated[Path | None, typer.Option(help="Volume of doubt per voxel, percent.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Facts about the result.")] = None,
    match: Annotated[
        str | None, typer.Option(help="Of many, only those whose path ends so, as in '*_FLAIR.nii.gz'.")
    ] = None,
    refuse: Annotated[bool, typer.Option("--refuse", help="No mask of a scan unlike the training scans.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Though DICOM says another modality or body part.")] = False,
    max_scan_gb: MaxScanGb = None,
) -> None:
    """Segment a scan, or many with the model loaded once; each mask comes on its scan's own grid.

    Many scans: OUT gets a mask each and results.csv; a run that was killed goes on where it was; exit code 1 says
    that some failed.
    """
    allow(max_scan_gb)
    if is_many(scan, out):
        single = {"--presence": presence, "--text": text, "--preview": preview, "--uncertainty": uncertainty}
        refuse_given({**single, "--json": json_file}, "is for one scan, OUT is a folder for many")
        segment_all(scan, out, model, device, match, refuse, force)
        return
    refuse_given({"--match": match}, "chooses among many scans, OUT is the mask of one")
    with errors.status("loading"):
        from wsseg.images.formats.table import check_extension, check_hangs, write_mask
        from wsseg.images.scan import write_any
        from wsseg.images.volume import SliceGrid
        from wsseg.inference.segmenter import Segmenter
        from wsseg.labels.tables import presence_of
        from wsseg.models.shelf import find_package

    if uncertainty is not None:
        check_extension(uncertainty)
    started = time.perf_counter()
    source = _only_scan(scan, out)
    source.check_output(out)
    if uncertainty is not None:
        check_hangs(uncertainty, source.volume)
    for file in (preview, uncertainty, json_file):
        if file is not None and not file.parent.is_dir():
            raise WssegError(f"{file}: the folder {file.parent} does not exist")
    package = find_package(model)
    known = None
    if presence is not None:
        axis = SliceGrid.of(source.volume, package.recipe.axis).stored_axis
        known = presence_of(source.case, presence, package.labels, source.volume.shape[axis], axis)
    segmenter = Segmenter(model, device)
    with bar("segmenting") as progress:
        result = segmenter(source.volume, known, progress=progress, text=text, refuse=refuse, force=force)
    write_any(out, result.mask, source, result.segments(package))
    if preview is not None:
        from wsseg.evaluation.preview import save_preview  # loads scikit-image

        save_preview(preview, source.volume, result.mask, result.grid, package)
    if uncertainty is not None:
        write_mask(uncertainty, result.uncertainty)
    if json_file is not None:
        write_json(
            json_file, _facts(source.case, package.metadata.version, model, result, time.perf_counter() - started)
        )
    if result.fits and result.fits.doubtful:
        errors.print(f"this scan does not fit {model}, {result.fits}", style="yellow", markup=False, soft_wrap=True)
    for sentence in [*result.sentences(), *_remarks(model, result)]:
        errors.print(sentence, highlight=False, markup=False, soft_wrap=True)
    printed.print(f"{out}", highlight=False, soft_wrap=True)


def _remarks(model: str, result: Segmentation) -> list[str]:
    """What whoever runs the model should know of the result, a sentence each."""
    from wsseg.inference.quality.fits import LEAST_PATIENTS
    from wsseg.inference.result import NOTHING

    found = []
    if result.fits is None and not result.mask.picture:
        found.append(
            f"{model} cannot tell whether it was made for such a scan: it has seen scans of fewer than"
            f" {LEAST_PATIENTS} patients, or `wsseg describe {model} --data FOLDER` has not looked at them"
        )
    if not result.mask.voxels.any():
        found.append(NOTHING)
    elif slices := result.look_at():
        found.append(f"worth a look, the most doubtful first: slices {', '.join(map(str, slices))} (the first is 0)")
    for name, missing in result.said_in_vain().items():
        where = f"slice{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}"
        found.append(f"{name} is said to be on {where}, where nothing was found that could be it")
    return found


def _only_scan(place: Path, out: Path) -> Scan:
    """A file, or a folder of one DICOM series and no other scan; pictures, and OUT, may lie beside one."""
    from wsseg.images.folder import is_scan
    from wsseg.images.formats.table import is_picture
    from wsseg.images.scan import read_any

    files = [file for file in place.iterdir() if file.is_file() and file != out] if place.is_dir() else []
    scans = list(filter(is_scan, files))
    others = scans if scans == files else [file for file in scans if not is_picture(file)]
    if others:
        raise WssegError(
            f"{out}: {place} is a folder of scans, not of one DICOM series, {others[0].name} is one; "
            "name a folder for their masks"
        )
    return read_any(place)


def _facts(case: str, version: str, model: str, result: Segmentation, seconds: float) -> dict[str, Any]:
    voxels = {name: int((result.mask.voxels == value).sum()) for name, value in result.labels.values().items()}
    return {
        "case": case,
        "model": model,
        "version": version,
        **result.facts(),
        "voxels": voxels,
        "seconds": round(seconds, 3),
    }
