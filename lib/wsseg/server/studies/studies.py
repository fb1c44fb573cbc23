"""The scans that a server works on: their names, files and grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from wsseg.errors import NotFoundError, WssegError, naming
from wsseg.files import is_plain
from wsseg.images.formats.table import read_grid
from wsseg.images.volume import SliceGrid, Volume
from wsseg.inference.quality.headers import check_made
from wsseg.labels.identity import ScanIdentity, content_of
from wsseg.models.package import ModelPackage, Recipe
from wsseg.server.studies.folder import ScanFolder
from wsseg.server.studies.store import ScanStore
from wsseg.server.studies.voxels import Voxels


@dataclass(frozen=True)
class Suitability:
    """Whether a scan can be labelled for a model, as far as is known before it is opened.

    Attributes:
        slices: their number; None where it is damaged or still in the archive.
        refusal: why it cannot be labelled for a model, a sentence; None where it can.
    """

    slices: int | None
    refusal: str | None


def open_studies(address: str, packages: Callable[[], list[ModelPackage]]) -> ScanStore:
    """The datastore of a folder of scans or a DICOMweb URL; ``packages`` are the models, whose classes are coded."""
    if not address.startswith(("http://", "https://")):
        return ScanFolder(Path(address))
    from wsseg.server.studies.pacs.archive import open_archive  # DICOM's libraries are imported only when used

    return open_archive(address, packages)


class Studies:
    """The images of MONAI Label's datastore as scans, by the ids that its clients use."""

    def __init__(self, datastore: ScanStore) -> None:
        self.datastore = datastore
        self.voxels = Voxels()

    def names(self) -> list[str]:
        """Every scan, sorted."""
        return sorted(self.datastore.list_images())

    def find(self, scan: str) -> Path | None:
        """Where a scan is, None if there is none of that id; an archive's is downloaded first."""
        path = self.datastore.get_image_uri(scan) if is_plain(scan) else ""
        return Path(path) if path else None

    def path(self, scan: str) -> Path:
        """Where a scan is.

        Raises:
            NotFoundError: there is none of that id.
        """
        path = self.find(scan)
        if path is None:
            raise NotFoundError(f'scan "{scan}" is unknown')
        return path

    def grid(self, scan: str) -> Volume:
        """A scan without its voxels, which are all 0.

        Raises:
            NotFoundError: there is none of that id.
            WssegError: it is damaged.
        """
        path = self.path(scan)
        with naming(path, scan):
            return _grid(path)

    def suitability(self, scan: str, recipe: Recipe) -> Suitability:
        """What can be told of a scan for a model without reading or fetching its voxels."""
        path = self.datastore.local(scan)
        if path is None:
            return Suitability(None, None)
        try:
            with naming(path, scan):
                grid = _grid(path)
        except WssegError as error:
            return Suitability(None, str(error))
        kinds = ("grey values", "colour pictures")
        other = f"{scan}: holds {kinds[grid.colour]}, the model reads {kinds[recipe.colour]}"
        slices = grid.shape[SliceGrid.of(grid, recipe.axis).stored_axis]
        return Suitability(slices, other if grid.colour != recipe.colour else None)

    def check_made(self, scan: str, package: ModelPackage) -> None:
        """Refuse a scan that came as DICOM and is kept as a volume, whose header speaks against a model.

        Raises:
            WssegError: see :func:`wsseg.inference.quality.headers.check_made`.
        """
        came = self.datastore.source(scan)
        if came is not None and came.is_dir():
            from wsseg.images.dicom.series import made_in  # DICOM's libraries are imported only when used

            check_made(made_in(came), package)

    def identity(self, scan: str, default_axis: int = 2) -> ScanIdentity:
        """A scan as labels are kept of it; its voxels are read for that once.

        Args:
            scan: id.
            default_axis: of its slices where spacing does not tell, see :class:`SliceGrid`.

        Raises:
            NotFoundError: there is none of that id.
            WssegError: it is damaged.
        """
        grid = self.grid(scan)
        path = self.path(scan)
        with naming(path, scan):
            content = content_of(path, self.voxels.stored)
        return ScanIdentity(scan, content, grid.shape, SliceGrid.of(grid, default_axis).stored_axis)


def _grid(path: Path) -> Volume:
    try:
        stat = path.stat()
    except OSError as error:
        raise WssegError(f"{path}: cannot be read ({error.strerror})") from error
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=10_000)
def _read(path: Path, time: int, size: int) -> Volume:
    """Kept until the file changes."""
    return read_grid(path)
