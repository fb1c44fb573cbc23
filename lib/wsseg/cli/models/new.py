"""``wsseg new``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
        Path | None,
        typer.Option(help="Scans and labels to plan the model for at once, instead of when it is first trained."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="union, for labels of any kind; or one of cdm, cldf, cam, pclmix, textdiff.")
    ] = "union",
) -> None:
    """Make an untrained model for a new task; `wsseg serve` then offers to label for it and to train it.

    It learns from labels of any kind. How it sees scans is chosen from those that it is first trained on.
    """
    with errors.status("loading"):
        from wsseg.labels.space import LabelSpace
        from wsseg.training.planning.new import new_package
        from wsseg.training.planning.plan import plan_for

    names = [label.strip() for label in labels.split(",") if label.strip()]
    plan = None if data is None else plan_for(data, LabelSpace(tuple(names)), modality)
    package = new_package(name, names, modality, home() / "models", method, body_part, plan)
    for reason in plan.reasons if plan else ():
        errors.print(reason, highlight=False, soft_wrap=True)
    errors.print(
        f"next: `wsseg train {name} --data FOLDER` on scans with labels, or `wsseg serve` to label them",
        highlight=False,
        soft_wrap=True,
    )
    printed.print(f"{package.folder}", highlight=False, soft_wrap=True)
