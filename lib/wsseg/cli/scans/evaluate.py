"""``wsseg evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from wsseg.cli.common import errors, printed
from wsseg.cli.progress import bar

if TYPE_CHECKING:
    from wsseg.evaluation.evaluate import Evaluation

WORST = 10
"""Scans that are shown one by one; all of them are in the files of ``--out``."""


def evaluate(
    name: Annotated[str, typer.Argument(help="Model, or a package's folder.")],
    data: Annotated[Path, typer.Option(help="Folder of scans, *_label masks and image_labels.csv.")],
    given: Annotated[Literal["nothing", "presence", "text"], typer.Option(help="What the model is told.")] = "nothing",
    out: Annotated[Path | None, typer.Option(help="Folder for CSV and overlay pictures.")] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Noise seeds that figures are averaged over, of models that draw noise.")
    ] = 3,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.")] = None,
) -> None:
    """Score a model against reference masks."""
    with errors.status("loading"):
        from wsseg.evaluation.evaluate import evaluate as score
        from wsseg.inference.segmenter import Segmenter

    segmenter = Segmenter(name, device)
    with bar("evaluating") as progress:
        found = score(segmenter, data, given, seeds, out, progress)
    many = "no noise" if not segmenter.draws_noise else "1 seed" if seeds == 1 else f"{seeds} seeds"
    table = Table(title=f"{segmenter.package.name} {segmenter.package.metadata.version}, given {given}, {many}")
    spread = len(found.seeds) > 1
    for column in ("figure", "mean", *(["spread"] if spread else [])):
        table.add_column(column)
    for row in found.table():
        table.add_row(row.what, f"{row.mean:.3f}", *([f"{row.spread:.3f}"] if spread else []))
    printed.print(table)
    printed.print(_worst(found))


def _worst(found: Evaluation) -> Table:
    """Dice of the scans that are marked worst."""
    scans = found.scans()
    named = f"the {WORST} worst of {len(scans)} scans" if len(scans) > WORST else "the scans, the worst first"
    table = Table(title=f"Dice of whole volumes: {named}")
    for column in ("scan", *scans[0].dice):
        table.add_column(column)
    for row in scans[:WORST]:
        table.add_row(row.case, *(f"{dice:.3f}" for dice in row.dice.values()))
    return table
