"""Many scans at once: those of a folder, of a BIDS tree, of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wsseg.errors import NotFoundError, WssegError
from wsseg.images.folder import is_scan
from wsseg.images.formats.table import MASKS, case_name, is_picture
from wsseg.images.scan import SEG, Scan, read_any
from wsseg.spreadsheets import read_table

TABLE = ".csv"

BIDS = "dataset_description.json"
"""What every BIDS tree has at its top: only what lies under ``sub-*`` is a subject's."""

MASKS_OF_STUDIES = "labels"
"""Where a studies folder keeps its masks."""


@dataclass(frozen=True)
class Source:
    """One scan that was found, unread.

    Attributes:
        case: its path under what was named, without extension; of a DICOM series the UID.
        place: a file, or the folder of one DICOM series.
        files: of a DICOM series among others, what belongs to it.
    """

    case: str
    place: Path
    files: tuple[Path, ...] = ()

    def read(self) -> Scan:
        """The scan.

        Raises:
            WssegError: it is none, or damaged.
        """
        if not self.files:
            return read_any(self.place)
        from wsseg.images.dicom.series import read_files  # DICOM's libraries are imported only when used

        return Scan.of_series(read_files(self.files, self.place), self.place)

    def mask(self) -> str:
        """Where its mask goes under the folder of results: in the scan's own format; DICOM SEG, PNG."""
        if self.files or _is_dir(self.place):
            ending = SEG
        elif is_picture(self.place):
            ending = ".png"
        else:
            ending = next((ending for ending in MASKS if self.place.name.lower().endswith(ending)), MASKS[0])
        return f"{self.case}_mask{ending}"

    def changed(self) -> float:
        """When its newest file was written, in seconds since 1970; 0 if it is gone."""
        try:
            return max(file.stat().st_mtime for file in self.files or (self.place,))
        except OSError:
            return 0.0


def _is_dir(place: Path) -> bool:
    """As Path has it; what cannot be looked at, or is no name at all, is none."""
    try:
        return place.is_dir()
    except OSError:
        return False


def find_scans(place: Path, match: str | None = None, besides: Path | None = None) -> list[Source]:
    """Every scan of a folder and the folders in it, of a BIDS tree, or of a table, sorted by case.

    A table is a CSV with a column ``scan``, paths as seen from its folder, and
    perhaps one ``case``, by which masks are then called.

    Args:
        place: folder or table.
        match: of several kinds of scan only those whose path ends so, as in ``*_FLAIR.nii.gz``.
        besides: a folder in it that is passed over.

    Raises:
        WssegError: there is none, or two would have one name.
    """
    found = _listed(place) if place.suffix.lower() == TABLE else _in_folder(place, besides)
    chosen = [source for source in found if match is None or _matches(source, match)]
    if not chosen:
        raise WssegError(f"{place}: holds no scan" + (f' that matches "{match}"' if match else ""))
    sources: dict[str, Source] = {}
    for source in sorted(chosen, key=lambda source: source.case):
        if sources.setdefault(source.case, source) is not source:
            other = sources[source.case].place
            raise WssegError(
                f"{source.place}: is the same case as {other} by its name, a table with a column case tells them apart"
            )
    return list(sources.values())


def _matches(source: Source, match: str) -> bool:
    return any(file.match(match) for file in source.files or (source.place,))


def _listed(table: Path) -> list[Source]:
    return [_in_row(table, line, row) for line, row in read_table(table, {"scan"})[1]]


def _in_row(table: Path, line: int, row: dict[str, str]) -> Source:
    if not row["scan"]:
        raise WssegError(f"{table}, line {line}: scan is empty")
    place = table.parent / row["scan"]
    case = PurePosixPath(row.get("case") or case_name(place))
    if case.is_absolute() or ".." in case.parts or not case.name or "\0" in str(case):
        raise WssegError(f"{table}, line {line}: case must be a name or a path down from the folder of results")
    return Source(str(case), place)


def _in_folder(folder: Path, besides: Path | None) -> list[Source]:
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: no such folder")
    others: list[Path] = []
    found: list[Source] = []
    for file in _files(folder, besides):
        if file.name.lower().endswith(MASKS) or is_picture(file):
            if is_scan(file):
                found.append(Source(_case(folder, file), file))
        else:
            others.append(file)
    return [*found, *_series(folder, others)]


def _files(folder: Path, besides: Path | None) -> Iterator[Path]:
    """Files that may be scans, or a part of one."""
    tops = sorted(folder.glob("sub-*")) if (folder / BIDS).exists() else [folder]
    passed = {(folder / MASKS_OF_STUDIES).resolve(), *([besides.resolve()] if besides else [])}
    for top in tops:
        for file in sorted(top.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
            if not hidden and file.is_file() and passed.isdisjoint(file.resolve().parents):
                yield file


def _series(folder: Path, files: Iterable[Path]) -> Iterator[Source]:
    """DICOM series among files, however they are spread; a damaged file spoils those that lie beside it."""
    from wsseg.images.dicom.slice import read_header

    series: dict[str, list[Path]] = {}
    damaged: list[Path] = []
    for file in files:
        try:
            header = None if file.name.upper() == "DICOMDIR" else read_header(file)
        except WssegError:
            damaged.append(file)
            continue
        if header is not None:
            series.setdefault(str(header.SeriesInstanceUID), []).append(file)
    beside = {file.parent for each in series.values() for file in each}
    for uid, each in series.items():
        spoilt = [file for file in damaged if file.parent in {own.parent for own in each}]
        yield Source(uid, each[0].parent, (*each, *spoilt))
    yield from (Source(_case(folder, file), file, (file,)) for file in damaged if file.parent not in beside)


def _case(folder: Path, file: Path) -> str:
    return file.relative_to(folder).with_name(case_name(file)).as_posix()
