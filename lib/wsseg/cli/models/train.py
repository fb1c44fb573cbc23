"""``wsseg train``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.logging import RichHandler

from wsseg.cli.common import INTERRUPTED, errors, printed
from wsseg.files import home


def train(
    name: Annotated[str, typer.Argument(help="Model whose method, settings and labels are trained.")],
    data: Annotated[Path, typer.Option(help="Folder of scans and their labels.")],
    use: Annotated[
        str, typer.Option(help="Kinds of labels, separated by commas: masks, scribbles, points, ...; by default all.")
    ] = "",
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Of training, after labels are made and before it is published.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where versions go; by default where `serve` finds them.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="As a new model begins; forget an interrupted run.")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each stage instead of its own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, batches and noise.")] = 0,
    save_every: Annotated[float, typer.Option(min=0, help="Seconds between checkpoints.")] = 120.0,
    mixed: Annotated[bool, typer.Option("--mixed/--no-mixed", help="bf16 where the hardware has it.")] = True,
    held_back: Annotated[
        float, typer.Option(min=0, max=0.5, help="Part of the patients whose labels choose the best weights.")
    ] = 0.0,
    check: Annotated[
        Path | None, typer.Option(help="Scans with masks: measure the pixel labels the method makes for itself.")
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Fuse the networks first; needs a C++ compiler.")] = False,
) -> None:
    """Train a model on weak labels; an interrupted run is resumed.

    Ctrl-C pauses: the same command goes on, under other --steps too. Ctrl-C twice within two seconds finishes: the
    best weights so far are published, from the first minute on. Paused, it ends with exit code 130.
    """
    with errors.status("loading"):
        from wsseg.cli.models.training import CtrlC, TrainingBar
        from wsseg.data.kinds.registry import kinds_named
        from wsseg.models.shelf import find_package
        from wsseg.training.progress import PausedError
        from wsseg.training.run import train_package
        from wsseg.training.settings import TrainSettings

    package = find_package(name)
    models = out or home() / "models"
    kinds = kinds_named(word.strip() for word in use.split(",") if word.strip())
    settings = TrainSettings(
        folder=models / package.name / "run",
        seed=seed,
        fresh=fresh,
        steps=steps,
        minutes=minutes,
        save_every=save_every,
        mixed=mixed,
        compile=compile,
        held_back=held_back,
    )
    shown = RichHandler(console=errors, show_time=False, show_level=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[shown])
    logging.getLogger("wsseg").setLevel(logging.INFO)
    bar, ctrl_c = TrainingBar(errors), CtrlC(errors)
    with ctrl_c.heeded():
        try:
            trained = train_package(package, data, models, settings, bar, check, kinds, wish=ctrl_c.wish)
        except PausedError as paused:
            bar.stop()
            errors.print(f"{paused}", highlight=False, soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None
        finally:
            bar.stop()
    errors.print(trained.message, highlight=False, soft_wrap=True)
    printed.print(f"{trained.package.folder}", highlight=False, soft_wrap=True)
