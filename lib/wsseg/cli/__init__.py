"""The command line, a contract that others script against.

Errors are one line and exit code 2.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from wsseg import __version__
from wsseg.errors import WssegError
from wsseg.files import home
from wsseg.images.limits import DEFAULT_MAX_SCAN_GB, MAX_SCAN_GB
from wsseg.images.limits import max_scan_gb as limit
from wsseg.labels.tables import presence_of
from wsseg.models.record import Figure, Metric
from wsseg.models.shelf import DEFAULT_MODEL, find_package, package_names, roll_back
from wsseg.server.defaults import DEFAULT_MAX_UPLOAD_MB

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

labels = typer.Typer(no_args_is_help=True, help="Weak labels from files into the server's database, and back.")
app.add_typer(labels, name="labels")

_UsageError: Any = typer.BadParameter.__bases__[0]
"""What wrong usage raises; typer brings its own copy of click and does not export the name."""

HEART = "pclmix-cardiac-cine"
"""What measures where no model is named."""

MaxScanGb = Annotated[
    float | None,
    typer.Option(help=f"Largest scan in GiB at 4 bytes a voxel; ${MAX_SCAN_GB}, or {DEFAULT_MAX_SCAN_GB:g}."),
]
"""How large a scan may be before it is refused unread."""

_errors = Console(stderr=True)
_out = Console(width=None if sys.stdout.isatty() else 160)


def _allow(max_scan_gb: float | None) -> None:
    """Raise the limit for this process and for those that it starts."""
    if max_scan_gb is not None:
        os.environ[MAX_SCAN_GB] = str(max_scan_gb)
        limit()


def main() -> None:
    """Run the command line; every known error is one line and exit code 2."""
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0)
    except WssegError as error:
        _fail(str(error))
    except _UsageError as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)


def _print_version(wanted: bool) -> None:
    if wanted:
        _out.print(__version__, highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


def _fail(sentence: str) -> NoReturn:
    _errors.print(f"wsseg: {sentence}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)


@app.command()
def serve(
    studies: Annotated[str | None, typer.Option(help="Folder of scans, or a DICOMweb URL.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    models: Annotated[str, typer.Option(help="Names separated by commas; all by default.")] = "",
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that clients must know; else $WSSEG_TOKEN.")
    ] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy on this machine lets clients in; believe its headers.")
    ] = False,
    max_upload_mb: Annotated[int, typer.Option(min=1, help="Largest request that is taken.")] = DEFAULT_MAX_UPLOAD_MB,
    max_scan_gb: MaxScanGb = None,
) -> None:
    """Serve the models to 3D Slicer, OHIF and MITK; makes a demo study where none are named."""
    from wsseg.server.serve import serve as run

    _allow(max_scan_gb)
    run(studies, host, port, [name for name in models.split(",") if name], token_file, behind_proxy, max_upload_mb)


@app.command()
def segment(
    scan: Annotated[Path, typer.Argument(help="NIfTI, NRRD, PNG, JPEG or TIFF, or a folder of one DICOM series.")],
    out: Annotated[Path, typer.Argument(help="Mask: .nii.gz, .nii, .nrrd, .png of a picture, .dcm (SEG) of DICOM.")],
    model: Annotated[str, typer.Option(help="As `wsseg models` lists it.")] = DEFAULT_MODEL,
    presence: Annotated[Path | None, typer.Option(help="CSV: case, slice, one column per class.")] = None,
    text: Annotated[str, typer.Option(help="Sentence for models that read one.")] = "",
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; a GPU where there is one.")] = None,
    preview: Annotated[Path | None, typer.Option(help="PNG of slices with the mask.")] = None,
    uncertainty: Annotated[Path | None, typer.Option(help="Volume of doubt per voxel, percent.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Facts about the result.")] = None,
    max_scan_gb: MaxScanGb = None,
) -> None:
    """Segment a scan; the mask comes on the scan's own grid."""
    with _errors.status("loading"):
        from wsseg.evaluation.preview import save_preview
        from wsseg.images.formats import check_extension, check_hangs, write_mask
        from wsseg.images.scan import read_any, write_any
        from wsseg.images.volume import SliceGrid
        from wsseg.inference.segmenter import Segmenter

    _allow(max_scan_gb)
    if uncertainty is not None:
        check_extension(uncertainty)
    started = time.perf_counter()
    source = read_any(scan)
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
    with _bar("segmenting") as progress:
        result = segmenter(source.volume, known, progress=progress, text=text)
    write_any(out, result.mask, source, package.segments)
    if preview is not None:
        save_preview(preview, source.volume, result.mask, result.grid, package)
    if uncertainty is not None:
        write_mask(uncertainty, result.uncertainty)
    if json_file is not None:
        _write_json(
            json_file, _facts(source.case, package.metadata.version, model, result, time.perf_counter() - started)
        )
    _out.print(f"{out}", highlight=False, soft_wrap=True)


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="Model whose method, settings and labels are trained.")],
    data: Annotated[Path, typer.Option(help="Folder of scans and their labels.")],
    use: Annotated[
        str, typer.Option(help="Kinds of labels, separated by commas: masks, scribbles, points, ...; by default all.")
    ] = "",
    minutes: Annotated[float | None, typer.Option(min=0.1, help="Of training; the schedule fits the time.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where versions go; by default where `serve` finds them.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="From random weights; forget an interrupted run.")] = False,
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
    best weights so far are published, from the first minute on.
    """
    with _errors.status("loading"):
        from wsseg.cli.training import CtrlC, TrainingBar
        from wsseg.data.kinds import kinds_named
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
    shown = RichHandler(console=_errors, show_time=False, show_level=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[shown])
    logging.getLogger("wsseg").setLevel(logging.INFO)
    bar, ctrl_c = TrainingBar(_errors), CtrlC(_errors)
    with ctrl_c.heeded():
        try:
            trained = train_package(package, data, models, settings, bar, check, kinds, wish=ctrl_c.wish)
        finally:
            bar.stop()
    _errors.print(trained.message, highlight=False, soft_wrap=True)
    _out.print(f"{trained.package.folder}", highlight=False, soft_wrap=True)


@app.command("import")
def import_release(
    format: Annotated[str, typer.Argument(help="kaggle-3m, acdc, monuseg or brats; or adm.")],
    source: Annotated[Path, typer.Argument(metavar="DIR", help="The release as downloaded; of adm, the file.")],
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
) -> None:
    """Turn a public release's own layout into ours, or the published diffusion model (adm) into a package."""
    with _errors.status("loading"):
        from wsseg.data.importers import IMPORTERS

    if format == "adm":
        from wsseg.training.backbone import import_adm

        _out.print(f"{import_adm(source, out).folder}", highlight=False, soft_wrap=True)
        return
    if format not in IMPORTERS:
        raise WssegError(f'format "{format}" is unknown, known are: {", ".join([*IMPORTERS, "adm"])}')
    with _bar("importing") as progress:
        count = IMPORTERS[format](source, out, progress)
    _out.print(f"{count} cases in {out}", highlight=False, soft_wrap=True)


@app.command()
def evaluate(
    name: Annotated[str, typer.Argument(help="Model, or a package's folder.")],
    data: Annotated[Path, typer.Option(help="Folder of scans, *_label masks and image_labels.csv.")],
    given: Annotated[Literal["nothing", "presence", "text"], typer.Option(help="What the model is told.")] = "nothing",
    out: Annotated[Path | None, typer.Option(help="Folder for CSV and overlay pictures.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Noise seeds that figures are averaged over.")] = 3,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.")] = None,
) -> None:
    """Score a model against reference masks."""
    with _errors.status("loading"):
        from wsseg.evaluation.evaluate import evaluate as score
        from wsseg.inference.segmenter import Segmenter

    segmenter = Segmenter(name, device)
    with _bar("evaluating") as progress:
        found = score(segmenter, data, given, seeds, out, progress)
    many = "1 seed" if seeds == 1 else f"{seeds} seeds"
    table = Table(title=f"{segmenter.package.name} {segmenter.package.metadata.version}, given {given}, {many}")
    for column in ("figure", "mean", "spread"):
        table.add_column(column)
    for row in found.table():
        table.add_row(row.what, f"{row.mean:.3f}", f"{row.spread:.3f}")
    _out.print(table)


@app.command()
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
    with _errors.status("loading"):
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
    with _bar("segmenting") as progress:
        for index, source in enumerate(sources):
            result = segmenter(source.volume, progress=_part_of(progress, index, 2))
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
    _out.print(table)
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
        _write_json(json_file, {"model": model, "version": package.metadata.version, "frames": cases, **rows})


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the model, as in liver-mr.")],
    labels: Annotated[str, typer.Option(help="Class names in order, separated by commas.")],
    modality: Annotated[str, typer.Option(help="What it reads: MR, CT, ...")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of scans and labels of any kind: the model learns from all of them.")
    ] = None,
    learn_from: Annotated[
        Literal["presence", "scribbles", "masks"],
        typer.Option(help="Without --data: what will be given; masks are for pictures of stained tissue."),
    ] = "presence",
) -> None:
    """Make an untrained model for a new task; `wsseg serve` then offers to label for it and to train it."""
    from wsseg.training.new import new_package, planned_package

    names = [label.strip() for label in labels.split(",") if label.strip()]
    if data is None:
        package = new_package(name, names, modality, home() / "models", learn_from)
    else:
        from wsseg.labels.space import LabelSpace
        from wsseg.training.plan import plan_for

        plan = plan_for(data, LabelSpace(tuple(names)), modality)
        package = planned_package(name, names, modality, home() / "models", plan)
        for reason in plan.reasons:
            _errors.print(reason, highlight=False, soft_wrap=True)
    _out.print(f"{package.folder}", highlight=False, soft_wrap=True)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Model, as `wsseg models` lists it.")],
    version: Annotated[str | None, typer.Argument(help="The one before that in use, if none is named.")] = None,
) -> None:
    """Use an earlier version of a model again, the shipped one included."""
    chosen = roll_back(name, version)
    _out.print(f"{name} {chosen.version}", highlight=False, soft_wrap=True)


_Model = Annotated[str, typer.Argument(help="Model whose classes the labels are of.")]
_Studies = Annotated[Path, typer.Option(help="Folder of scans that the server works on.")]


@labels.command("import")
def import_labels(
    name: _Model,
    source: Annotated[Path, typer.Argument(metavar="DIR", help="image_labels.csv and <scan>_scribble files.")],
    studies: _Studies,
    annotator: Annotated[str, typer.Option(help="Whose labels they are.")] = "import",
) -> None:
    """Take weak labels from files into the server's database; what fits no scan is left out and named."""
    from wsseg.images.folder import scan_files
    from wsseg.labels.engine import open_store
    from wsseg.labels.exchange import Files
    from wsseg.labels.exchange import import_labels as take
    from wsseg.labels.project import Project

    package = find_package(name)
    files = Files(scan_files(studies), package.recipe.axis)
    result = take(open_store(Project.of_folder(studies)), source, files, package.labels, annotator)
    for sentence in result.left_out:
        _errors.print(f"left out: {sentence}", highlight=False, soft_wrap=True, markup=False)
    _out.print(f"{len(result.taken)} files of labels taken over", highlight=False)


@labels.command("export")
def export_labels(
    name: _Model,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    studies: _Studies,
) -> None:
    """Write weak labels into files, as `import` and `wsseg train` read them."""
    from wsseg.images.folder import scan_files
    from wsseg.labels.engine import open_store
    from wsseg.labels.exchange import Files
    from wsseg.labels.exchange import export_labels as write
    from wsseg.labels.project import Project

    package = find_package(name)
    files = Files(scan_files(studies), package.recipe.axis)
    written = write(open_store(Project.of_folder(studies)), out, files, package.labels)
    _out.print(f"{len(written)} files of labels in {out}", highlight=False, soft_wrap=True)


@app.command("models")
def list_models() -> None:
    """List the models with their licence and a figure of each; their cards have all, with the protocol."""
    from wsseg.methods.registry import BACKBONES

    table = Table()
    for column in ("model", "version", "classes", "reads", "licence", "scored on scans never seen"):
        table.add_column(column, no_wrap=column == "model")
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
    _out.print(table)


def _spread(figure: Figure) -> str:
    return f" ± {figure.spread:.3f} ({figure.seeds} noise seeds)" if figure.seeds > 1 else ""


def _facts(case: str, version: str, model: str, result: Any, seconds: float) -> dict[str, Any]:
    voxels = {name: int((result.mask.voxels == value).sum()) for name, value in result.labels.values().items()}
    return {
        "case": case,
        "model": model,
        "version": version,
        **result.facts(),
        "voxels": voxels,
        "seconds": round(seconds, 3),
    }


def _write_json(path: Path, facts: dict[str, Any]) -> None:
    from wsseg.files import whole_file

    with whole_file(path) as part:
        part.write_text(json.dumps(facts, indent=2) + "\n")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=_errors)


def _stop(bars: Progress) -> None:
    if bars.live.is_started:
        bars.stop()


@contextmanager
def _bar(description: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on stderr, told the finished part in [0, 1]; begun by the first, so an early error is one line."""
    bars = _progress()
    task = bars.add_task(description, total=1.0)

    def told(part: float) -> None:
        bars.start()
        bars.update(task, completed=part)

    try:
        yield told
    finally:
        _stop(bars)


def _part_of(progress: Callable[[float], None], index: int, count: int) -> Callable[[float], None]:
    """What to tell the progress of one of ``count`` equal steps to."""
    return lambda part: progress((index + part) / count)


if __name__ == "__main__":
    main()
