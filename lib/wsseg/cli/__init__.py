"""The command line, a contract that others script against.

Errors are one line and exit code 2.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

from wsseg import __version__
from wsseg.cli import import_release, labels, serve
from wsseg.cli.common import INTERRUPTED, errors, printed
from wsseg.cli.models import describe, new, shelf, train
from wsseg.cli.scans import archive, evaluate, measure, segment
from wsseg.errors import WssegError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

_labels = typer.Typer(no_args_is_help=True, help="Weak labels from files into the server's database, and back.")
app.add_typer(_labels, name="labels")

_UsageError: Any = typer.BadParameter.__bases__[0]
"""What wrong usage raises; typer brings its own copy of click and does not export the name."""

app.command()(serve.serve)
app.command()(segment.segment)
app.command()(archive.archive)
app.command()(train.train)
app.command("import")(import_release.import_release)
app.command()(describe.describe)
app.command()(evaluate.evaluate)
app.command()(measure.measure)
app.command()(new.new)
app.command()(shelf.rollback)
app.command("models")(shelf.list_models)
_labels.command("import")(labels.import_labels)
_labels.command("export")(labels.export_labels)


def main() -> None:
    """Run the command line; every known error is one line and exit code 2."""
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0)
    except WssegError as error:
        _fail(str(error))
    except _UsageError as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)


def _print_version(wanted: bool) -> None:
    if wanted:
        printed.print(__version__, highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


def _fail(sentence: str) -> NoReturn:
    errors.print(f"wsseg: {sentence}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)
