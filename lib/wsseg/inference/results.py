"""``results.csv``: one row a scan, on disk as soon as its mask is, so that a killed run goes on where it was."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from wsseg.errors import WssegError
from wsseg.files import no_room, unwritable, whole_file
from wsseg.images.listing import Source
from wsseg.inference.summary import Summary, columns_of
from wsseg.models.package import ModelPackage

FILE = "results.csv"


@dataclass(frozen=True)
class Outcome:
    """What became of one scan.

    Attributes:
        case: its name.
        mask: its file under the folder of results.
        seconds: of reading, computing and writing it.
        summary: None where it failed.
        error: why; "" where it did not.
    """

    case: str
    mask: str
    seconds: float
    summary: Summary | None = None
    error: str = ""


class Results:
    """The table of one model's results in a folder.

    Of an earlier run it keeps what succeeded; what failed, whose mask is gone,
    and what is newer than its mask, is to be done again.

    Args:
        folder: is there.
        package: whose results they are.
        sources: the scans of this run.

    Attributes:
        todo: those of them that are not done.

    Raises:
        WssegError: the table is of another model or version, or none of ours.
    """

    def __init__(self, folder: Path, package: ModelPackage, sources: Sequence[Source]) -> None:
        self.file = folder / FILE
        self._author = {"model": package.name, "version": package.metadata.version}
        self._measured = columns_of(package.recipe)
        self._columns = ["scan", "mask", *self._author, *self._measured, "seconds", "error"]
        rows = {row["scan"]: row for row in (self._earlier() if self.file.exists() else ())}
        self.todo = [source for source in sources if not _is_done(source, folder, rows.get(source.case))]
        again = {source.case for source in self.todo}
        kept = [[row[name] for name in self._columns] for case, row in rows.items() if case not in again]
        with whole_file(self.file) as part, part.open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([self._columns, *kept])
        self._out: TextIOWrapper = self.file.open("a", newline="", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._out.close()

    def add(self, outcome: Outcome) -> None:
        """Append a row, on disk when this returns."""
        measured: Sequence[float | str | None] = list(outcome.summary.row().values()) if outcome.summary else []
        empty = [""] * (len(self._measured) - len(measured))
        mask = outcome.mask if outcome.summary else ""
        row = [outcome.case, mask, *self._author.values(), *measured, *empty]
        try:
            csv.writer(self._out).writerow([*row, f"{outcome.seconds:.3f}", outcome.error])
            self._out.flush()
            os.fsync(self._out.fileno())
        except OSError as error:
            raise unwritable(self.file, error) from error

    def _earlier(self) -> list[dict[str, str]]:
        """Rows of scans that succeeded; one that a kill cut short has too few fields."""
        try:
            with self.file.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                columns, rows = list(reader.fieldnames or ()), list(reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise WssegError(f"{self.file}: cannot be read as CSV ({error})") from error
        whole = [row for row in rows if row.get("error") is not None]
        ours = all(row.get(name) == value for row in whole for name, value in self._author.items())
        if columns != self._columns or not ours:
            raise WssegError(f"{self.file}: holds results of another model or version, give another folder")
        return [row for row in whole if not row["error"]]


def _is_done(source: Source, folder: Path, row: dict[str, str] | None) -> bool:
    try:
        return row is not None and (folder / row["mask"]).stat().st_mtime >= source.changed()
    except OSError:
        return False


def sentence_of(error: Exception, place: Path) -> str:
    """Why a scan failed, for its row.

    Raises:
        FullError: there is no room, so that the next scan would fail too.
    """
    if isinstance(error, OSError) and no_room(place, error):
        raise unwritable(place, error) from error
    if isinstance(error, WssegError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is too little memory for this scan"
    return f"cannot be segmented ({type(error).__name__}: {error})"
