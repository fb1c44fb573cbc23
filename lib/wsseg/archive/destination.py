"""Where results go: an archive, a DICOM node, or a folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from wsseg.archive.dimse import NodeDestination, is_node
from wsseg.archive.web.client import Pacs
from wsseg.errors import UnavailableError, WssegError
from wsseg.files import make_folder, whole_file
from wsseg.images.dicom.seg import Identity, check_references, write_seg
from wsseg.images.dicom.series import DicomScan
from wsseg.images.dicom.sr import Measured, write_sr
from wsseg.inference.measure import volumes_ml
from wsseg.inference.result import Segmentation
from wsseg.models.package import ModelPackage

REMOTE = ("http://", "https://")


class Destination(Protocol):
    """What takes DICOM objects and tells whether it has them."""

    def check(self) -> None:
        """Ask whether it answers.

        Raises:
            UnavailableError: it does not.
        """

    def holds(self, study: str, identity: Identity) -> bool:
        """Whether an object is there."""

    def store(self, file: Path, study: str, identity: Identity) -> None:
        """Take an object and confirm that; sent twice it is there once.

        Raises:
            UnavailableError: it does not answer, or does not list the object yet.
        """


class ArchiveDestination:
    """An archive that speaks DICOMweb."""

    def __init__(self, pacs: Pacs) -> None:
        self._pacs = pacs

    def check(self) -> None:
        """One small question."""
        self._pacs.check()

    def holds(self, study: str, identity: Identity) -> bool:
        """Whether the archive says so."""
        return self._pacs.holds(study, identity.series, identity.instance)

    def store(self, file: Path, study: str, identity: Identity) -> None:
        """Send a file, and ask for it."""
        self._pacs.store(file)
        if not self.holds(study, identity):
            raise UnavailableError("the result was sent, but the archive does not list it yet")


class FolderDestination:
    """A folder with one for each study, and in it a file for each object, named by their UIDs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self) -> None:
        """A folder does."""

    def holds(self, study: str, identity: Identity) -> bool:
        """Whether its file is there, which it is whole or not at all."""
        return self._file(study, identity).exists()

    def store(self, file: Path, study: str, identity: Identity) -> None:
        """Copy a file."""
        place = self._file(study, identity)
        make_folder(place.parent)
        with whole_file(place) as part:
            shutil.copyfile(file, part)

    def _file(self, study: str, identity: Identity) -> Path:
        return self._folder / study / f"{identity.instance}.dcm"


def address_of(place: str) -> str:
    """A URL or a node's address as it is, a folder as a URL, by which it is known wherever a command is called."""
    if place.startswith(REMOTE):
        return place.rstrip("/")
    if is_node(place):
        return place
    folder = Path(place).resolve()
    if folder.exists() and not folder.is_dir():
        raise WssegError(f"{place}: is a file, results go into a folder, to an archive's URL or to TITLE@host:port")
    return folder.as_uri()


def open_destination(address: str) -> Destination:
    """What an address of :func:`address_of` leads to."""
    if address.startswith(REMOTE):
        return ArchiveDestination(Pacs(address))
    if is_node(address):
        return NodeDestination(address)
    return FolderDestination(Path(unquote(urlsplit(address).path)))


def deliver(destination: Destination, result: Segmentation, scan: DicomScan, package: ModelPackage) -> None:
    """Send a mask as DICOM SEG and what it measures as SR, each unless it is there from an earlier try.

    Their UIDs are derived from the series, the model and its version; both are
    delivered when the destination says that it has them.

    Raises:
        UnavailableError: the destination does not answer, or does not list them yet.
        WssegError: a SEG or SR cannot be written of it; then neither was sent.
    """
    check_references(scan)
    segments = result.segments(package)
    made_of = (scan.series_uid, segments.author, segments.version)
    study, seg, sr = str(scan.sources[0].StudyInstanceUID), Identity.derived(*made_of), Identity.derived(*made_of, "SR")
    missing = [identity for identity in (seg, sr) if not destination.holds(study, identity)]
    if not missing:
        return
    with tempfile.TemporaryDirectory(prefix="wsseg-") as name:
        files = {seg: Path(name) / "seg.dcm", sr: Path(name) / "sr.dcm"}
        write_seg(files[seg], result.mask, scan, segments, seg)
        volumes = volumes_ml(result.mask, package.labels)
        measured = Measured(scan, files[seg], volumes, result.predicted_dice, result.fits, negative=result.negative)
        write_sr(files[sr], [measured], {}, segments, sr)
        for identity in missing:
            destination.store(files[identity], study, identity)
