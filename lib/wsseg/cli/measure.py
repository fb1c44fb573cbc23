"""``wsseg measure``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from wsseg.cli.common import errors, printed, write_json
from wsseg.cli.progress import bar, part_of
from wsseg.errors import WssegError

HEART = "pclmix-cardiac-cine"
"""What measures where no model is named."""


def measure(
    frames: Annotated[list[Path], typer.Argument(metavar="ED ES", help="Both frames of one heart, in any order.")],
    model: Annotated[str, typer.Option(help="As `wsseg models` lists it.")] = HEART,
    out: Annotated[Path | None, typer.Option(help="Folder for the masks, <frame>_mask.nii.gz.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; a GPU where there is one.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="The figures.")] = None,
) -> None:
    """Segment end-diastole and end-systole; print volumes and ejection fractions."""
    if len(frames) != 2:
        named = "1 scan is" if len(frames) == 1 else f"{len(frames)} scans are"
        raise WssegError(f"measure: {named} named, two are needed: end-diastole and end-systole")
    with errors.status("loading"):
        from wsseg.files import make_folder
        from wsseg.images.scan import read_any, write_any
        from wsseg.inference.measure import ejections, phases, volumes_ml
        from wsseg.inference.segmenter import Segmenter

    segmenter = Segmenter(model, device)
    package = segmenter.package
    cavities = [name for name, label in package.recipe.labels.items() if label.cavity]
    if not cavities:
        raise WssegError(f"measure: {model} has no class that fills and empties, use one such as {HEART}")
    sources = [read_any(frame) for frame in frames]
    if out is not None:
        make_folder(out)
    volumes, confidences = [], []
    with bar("segmenting") as progress:
        for index, source in enumerate(sources):
            result = segmenter(source.volume, progress=part_of(progress, index, 2))
            volumes.append(volumes_ml(result.mask, package.labels))
            confidences.append(round(result.confidence, 4))
            if out is not None:
                write_any(out / f"{source.case}_mask.nii.gz", result.mask, source, package.segments)
    found, phase = ejections(volumes[0], volumes[1], cavities), phases(volumes[0], volumes[1], cavities)
    table = Table()
    frames_told = (f"{source.case} ml, {name}" for source, name in zip(sources, phase, strict=True))
    for column in ("class", *frames_told, "stroke ml", "ejection fraction %"):
        table.add_column(column)
    for name in package.labels.names:
        told = (f"{found[name].stroke_ml:.1f}", f"{100 * found[name].fraction:.1f}") if name in found else ("", "")
        table.add_row(name, *(f"{each[name]:.1f}" for each in volumes), *told)
    printed.print(table)
    if json_file is not None:
        rows = {
            name: {"stroke_ml": round(e.stroke_ml, 3), "ejection_fraction": round(e.fraction, 4)}
            for name, e in found.items()
        }
        each_frame = zip(sources, phase, volumes, confidences, strict=True)
        cases = {
            source.case: {"phase": name, "millilitres": ml, "confidence": confidence}
            for source, name, ml, confidence in each_frame
        }
        write_json(json_file, {"model": model, "version": package.metadata.version, "frames": cases, **rows})
