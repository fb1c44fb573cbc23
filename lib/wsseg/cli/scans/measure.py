"""``wsseg measure``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from wsseg.cli.common import errors, printed, write_json
from wsseg.cli.progress import bar, part_of
from wsseg.errors import WssegError

if TYPE_CHECKING:
    from PIL import Image

    from wsseg.images.scan import Scan
    from wsseg.inference.measure import Ejection
    from wsseg.inference.result import Segmentation
    from wsseg.models.package import ModelPackage

HEART = "pclmix-cardiac-cine"
"""What measures where no model is named."""

REPORT = "measurements.dcm"
"""The structured report beside the masks of DICOM."""


def measure(
    frames: Annotated[
        list[Path], typer.Argument(metavar="CINE | ED ES", help="A cine of one heart, or two frames in any order.")
    ],
    model: Annotated[str, typer.Option(help="As `wsseg models` lists it.")] = HEART,
    out: Annotated[
        Path | None, typer.Option(help="Folder for both masks, and of DICOM (SEG) for the report of them (SR).")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; a GPU where there is one.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="The figures.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Volumes over the beat, a PNG.")] = None,
    send: Annotated[str | None, typer.Option(help="DICOMweb address of an archive that gets SEG and SR.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Though DICOM says another modality or body part.")] = False,
) -> None:
    """Segment a heart over its beat; print volumes and ejection fractions.

    Of a cine (4-D NIfTI, a DICOM series) end-diastole and end-systole are found by themselves.
    """
    with errors.status("loading"):
        from wsseg.evaluation.preview import save_picture
        from wsseg.files import make_folder
        from wsseg.inference.measure import check_plausible, ejections, leading_cavities, phases, volumes_ml
        from wsseg.inference.segmenter import Segmenter

    if picture is not None and picture.suffix.lower() != ".png":
        raise WssegError(f"--picture {picture}: is written as PNG, name it so")
    sources = _sources(frames)
    if send is not None and (out is None or sources[0].series is None):
        raise WssegError("--send: what goes to an archive is made of DICOM series, and needs --out")
    segmenter = Segmenter(model, device)
    package = segmenter.package
    cavities = [name for name, label in package.recipe.labels.items() if label.cavity]
    if not cavities:
        raise WssegError(f"measure: {model} has no class that fills and empties, use one such as {HEART}")
    with bar("segmenting") as progress:
        results = [
            segmenter(source.volume, progress=part_of(progress, index, len(sources)), force=force)
            for index, source in enumerate(sources)
        ]
    volumes = [volumes_ml(result.mask, package.labels) for result in results]
    chosen = dict(zip(("ED", "ES"), phases(volumes, leading_cavities(package.recipe)), strict=True))
    found = ejections(volumes[chosen["ED"]], volumes[chosen["ES"]], cavities)
    if out is not None:
        make_folder(out)
        files = _write_masks(out, {phase: (sources[at], results[at]) for phase, at in chosen.items()}, package)
    check_plausible(found)
    _print(package, {f"{sources[at].case} ml, {phase}": volumes[at] for phase, at in chosen.items()}, found)
    if out is not None and sources[0].series is not None:
        pairs = zip(chosen.items(), files, strict=True)
        measured = {phase: (sources[at], file, volumes[at], results[at]) for (phase, at), file in pairs}
        files.append(_write_report(out / REPORT, measured, found, package))
    if json_file is not None:
        facts: dict[str, dict[str, object]] = {
            source.case: {
                "millilitres": ml,
                **{key: result.facts()[key] for key in ("predicted_dice", "fits", "negative")},
            }
            for source, ml, result in zip(sources, volumes, results, strict=True)
        }
        for phase, at in chosen.items():
            facts[sources[at].case]["phase"] = phase
        write_json(json_file, {"model": model, "version": package.metadata.version, "frames": facts, **_rows(found)})
    if picture is not None:
        save_picture(picture, _curve(package, volumes, chosen, found))
    if send is not None:
        _send(send, files)


def _sources(frames: Sequence[Path]) -> list[Scan]:
    """The frames of one beat, in the order of time or as they are named."""
    from wsseg.images.scan import read_frames
    from wsseg.inference.measure import check_one_heart

    if len(frames) == 1:
        found = read_frames(frames[0])
        if len(found) == 1:
            raise WssegError(f"measure: {frames[0]} shows one moment, name a cine, or end-diastole and end-systole")
        return found
    if len(frames) > 2:
        raise WssegError(f"measure: {len(frames)} scans are named, name a cine, or end-diastole and end-systole")
    if frames[0].resolve() == frames[1].resolve():
        raise WssegError(f"measure: {frames[0]} is named twice, end-diastole and end-systole are needed")
    found = [scan for frame in frames for scan in read_frames(frame)]
    if len(found) > 2:
        raise WssegError("measure: a cine and another scan are named, a cine is measured by itself")
    patients = {scan.series.patient for scan in found if scan.series is not None}
    if len(patients) > 1:
        raise WssegError(f"measure: {frames[0]} and {frames[1]} are of different patients (PatientID)")
    check_one_heart([(scan.case, scan.volume) for scan in found])
    return found


def _write_masks(out: Path, frames: dict[str, tuple[Scan, Segmentation]], package: ModelPackage) -> list[Path]:
    """Of DICOM as SEG."""
    from wsseg.images.scan import write_any

    files = []
    for source, result in frames.values():
        files.append(out / f"{source.case}_mask{'.nii.gz' if source.series is None else '.dcm'}")
        write_any(files[-1], result.mask, source, result.segments(package))
    return files


def _write_report(
    path: Path,
    measured: dict[str, tuple[Scan, Path, dict[str, float], Segmentation]],
    found: dict[str, Ejection],
    package: ModelPackage,
) -> Path:
    from wsseg.images.dicom.sr import Measured, write_sr

    phases = [
        Measured(scan.series, seg, volumes, result.predicted_dice, result.fits, phase, result.negative)
        for phase, (scan, seg, volumes, result) in measured.items()
        if scan.series is not None
    ]
    write_sr(path, phases, found, package.segments)
    return path


def _print(package: ModelPackage, columns: dict[str, dict[str, float]], found: dict[str, Ejection]) -> None:
    table = Table()
    for column in ("class", *columns, "stroke ml", "ejection fraction %"):
        table.add_column(column)
    for name in package.labels.names:
        told = (f"{found[name].stroke_ml:.1f}", f"{100 * found[name].fraction:.1f}") if name in found else ("", "")
        table.add_row(name, *(f"{volumes[name]:.1f}" for volumes in columns.values()), *told)
    printed.print(table)


def _rows(found: dict[str, Ejection]) -> dict[str, dict[str, float]]:
    return {
        name: {"stroke_ml": round(each.stroke_ml, 3), "ejection_fraction": round(each.fraction, 4)}
        for name, each in found.items()
    }


def _curve(
    package: ModelPackage, volumes: Sequence[dict[str, float]], chosen: dict[str, int], found: dict[str, Ejection]
) -> Image.Image:
    from wsseg.evaluation.curve import volume_curve

    title = ", ".join(f"{name} ejects {100 * each.fraction:.0f} %" for name, each in found.items())
    lines = {name: [frame[name] for frame in volumes] for name in found}
    return volume_curve(lines, {name: package.recipe.labels[name].color for name in found}, chosen, title)


def _send(url: str, files: Sequence[Path]) -> None:
    from wsseg.archive.web.client import Pacs

    archive = Pacs(url)
    for file in files:
        archive.store(file)
    errors.print(f"{len(files)} objects are in {url}", highlight=False, soft_wrap=True)
