"""``wsseg new``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from wsseg.cli.common import errors, printed
from wsseg.files import home


def new(
    name: Annotated[str, typer.Argument(help="Of the model, as in liver-mr.")],
    labels: Annotated[str, typer.Option(help="Class names in order, separated by commas.")],
    modality: Annotated[str, typer.Option(help="What it reads: MR, CT, ...")],
    body_part: Annotated[
        str, typer.Option(help="Of which part, in DICOM's words, as LIVER: headers of other regions are refused.")
    ] = "",
    data: Annotated[
        Path | None, typer.Option(help="Folder of scans and labels of any kind: the model learns from all of them.")
    ] = None,
    learn_from: Annotated[
        Literal["presence", "scribbles", "masks"],
        typer.Option(help="Without --data: what will be given; masks are for pictures of stained tissue."),
    ] = "presence",
) -> None:
    """Make an untrained model for a new task; `wsseg serve` then offers to label for it and to train it."""
    from wsseg.training.planning.new import new_package, planned_package

    names = [label.strip() for label in labels.split(",") if label.strip()]
    if data is None:
        package = new_package(name, names, modality, home() / "models", learn_from, body_part)
    else:
        from wsseg.labels.space import LabelSpace
        from wsseg.training.planning.plan import plan_for

        plan = plan_for(data, LabelSpace(tuple(names)), modality)
        package = planned_package(name, names, modality, home() / "models", plan, body_part)
        for reason in plan.reasons:
            errors.print(reason, highlight=False, soft_wrap=True)
    printed.print(f"{package.folder}", highlight=False, soft_wrap=True)
