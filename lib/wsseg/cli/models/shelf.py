"""``wsseg models`` and ``wsseg rollback``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from wsseg.cli.common import printed
from wsseg.errors import WssegError

if TYPE_CHECKING:
    from wsseg.models.record import Figure


def list_models() -> None:
    """List the models with their licence and a figure of each; their cards have all, with the protocol."""
    from wsseg.methods.registry import BACKBONES
    from wsseg.models.record import Metric
    from wsseg.models.shelf import find_package, package_names

    table = Table()
    table.add_column("model", no_wrap=True)
    for column in ("version", "classes", "reads"):
        table.add_column(column)
    table.add_column("licence", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("scored on scans never seen")
    for name in package_names():
        try:
            package = find_package(name)
        except WssegError as error:
            table.add_row(name, "", "", "", "", f"damaged: {error}")
            continue
        recipe = package.recipe
        # What a click gives comes first: a model is told nothing then.
        clicked = [f for f in recipe.figures if f.metric is Metric.DICE and f.given == "nothing"]
        score = "".join(f"{f.title}: {f.value:.3f}" + _spread(f) for f in clicked[:1])
        if not package.trained:
            score = "not trained"
        elif recipe.method in BACKBONES:
            score = "segments nothing, others build on it"
        table.add_row(name, package.metadata.version, ", ".join(recipe.labels), recipe.modality, recipe.licence, score)
    printed.print(table)


def _spread(figure: Figure) -> str:
    return f" ± {figure.spread:.3f} ({figure.seeds} noise seeds)" if figure.seeds > 1 else ""


def rollback(
    name: Annotated[str, typer.Argument(help="Model, as `wsseg models` lists it.")],
    version: Annotated[str | None, typer.Argument(help="The one before that in use, if none is named.")] = None,
) -> None:
    """Use an earlier version of a model again, the shipped one included."""
    from wsseg.models.shelf import roll_back

    chosen = roll_back(name, version)
    printed.print(f"{name} {chosen.version}", highlight=False, soft_wrap=True)
