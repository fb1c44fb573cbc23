"""A folder of scans: which of its files are scans, and what was drawn on them lies beside them."""

from __future__ import annotations

from pathlib import Path

from wsseg.errors import NotFoundError, WssegError
from wsseg.images.formats.table import EXTENSIONS, case_name

ENDINGS = ("label", "scribble", "correction")
"""What the names of files end with that were drawn on a scan, after the scan's own: `<case>_label.nii.gz`."""


def scan_files(folder: Path) -> dict[str, Path]:
    """The scans of a data folder by case name, sorted; masks and scribbles left out.

    Raises:
        WssegError: no such folder, no scan in it, or two of one case name.
    """
    if not folder.is_dir():
        raise WssegError(f"{folder}: no such folder")
    scans: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if is_scan(file) and scans.setdefault(case_name(file), file) != file:
            first = scans[case_name(file)]
            raise WssegError(f"{file}: is the same case as {first.name} by its name, keep one of both here")
    if not scans:
        raise WssegError(f"{folder}: holds no scan ({', '.join(EXTENSIONS)})")
    return scans


def is_scan(file: Path) -> bool:
    """Whether a file's name is that of a scan, not of something drawn on one and kept beside it.

    Names that begin with a dot are hidden files (macOS writes ``._scan.nii.gz``
    beside every scan on a foreign disk), never scans.
    """
    return (
        not file.name.startswith(".")
        and file.name.lower().endswith(EXTENSIONS)
        and not case_name(file).endswith(tuple(f"_{what}" for what in ENDINGS))
    )


def reference_of(scan: Path) -> Path:
    """The complete mask beside a scan, ``<case>_label.<extension>``.

    Raises:
        NotFoundError: there is none.
    """
    if found := drawn_beside(scan.parent, case_name(scan), "label"):
        return found
    raise NotFoundError(f"{scan}: there is no {case_name(scan)}_label mask beside it to be scored against")


def drawn_beside(folder: Path, case: str, what: str) -> Path | None:
    """The file ``<case>_<what>.<extension>`` of a folder, one of :data:`ENDINGS`; None if there is none."""
    files = (folder / f"{case}_{what}{extension}" for extension in EXTENSIONS)
    return next((file for file in files if file.exists()), None)


def drawn_cases(folder: Path, what: str) -> set[str]:
    """The cases that files of a folder are drawn on by their names, whether it holds their scans or not."""
    names = (case_name(file) for file in folder.glob(f"[!.]*_{what}.*") if file.name.lower().endswith(EXTENSIONS))
    return {name.removesuffix(f"_{what}") for name in names}
