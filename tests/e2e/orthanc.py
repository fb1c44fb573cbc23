"""A real Orthanc with its DICOMweb plugin, as hospitals run one, on free ports and in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)
from dicomweb_client import DICOMwebClient
from live import write_series
from pydicom import Dataset, dcmread

from wsseg.images.volume import Volume

PLUGINS = Path("/usr/share/orthanc/plugins")
START_SECONDS = 30
AUTH = ("pacs", "secret")


@dataclass
class Orthanc:
    """Attributes:
    url: of its DICOMweb services.
    """

    url: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again with what it holds."""
        self.process = subprocess.Popen(
            [_program(), str(self.folder / "orthanc.json")],
            stdout=(self.folder / "log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if requests.get(f"{self.url}/studies?limit=1", auth=AUTH, timeout=5).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.1)
        pytest.fail(f"Orthanc does not answer:\n{(self.folder / 'log').read_text('utf-8')[-2000:]}")

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(30)

    @property
    def client(self) -> DICOMwebClient:
        session = requests.Session()
        session.auth = AUTH
        return DICOMwebClient(self.url, session)

    def send(self, files: Iterable[Path]) -> None:
        self.client.store_instances([dcmread(file) for file in files])

    def series(self, **filters: str) -> list[Dataset]:
        found = self.client.search_for_series(search_filters=filters)
        return [Dataset.from_json(entry) for entry in found]

    def segs(self, study: str) -> list[Dataset]:
        """The SEGs of a study, oldest first."""
        found = self.series(StudyInstanceUID=study, Modality="SEG")
        segs = [self.client.retrieve_series(study, series.SeriesInstanceUID)[0] for series in found]
        return sorted(segs, key=lambda seg: (seg.SeriesDate, seg.SeriesTime))


def _program() -> str:
    found = shutil.which("Orthanc")
    if found and (PLUGINS / "libOrthancDicomWeb.so").exists():
        return found
    reason = "there is no Orthanc with DICOMweb, on Debian: apt-get install orthanc orthanc-dicomweb"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def orthanc(folder: Path, **options: object) -> Iterator[Orthanc]:
    """An empty one, which asks for a password; ``options`` are of its configuration."""
    _program()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = Orthanc(f"http://127.0.0.1:{port}/dicom-web", folder)
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": dict([AUTH]),
        "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **options,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration), encoding="utf-8")
    made.start()
    try:
        yield made
    finally:
        made.stop()


def write_patient(folder: Path, patient: str, scan: sitk.Image, **tags: str) -> list[Path]:
    """:func:`write_series` of a patient, its file names and instance numbers against the order of the slices."""
    folder.mkdir()
    write_series(folder, scan)
    files = sorted(folder.glob("*.dcm"))
    for file in files:
        image = dcmread(file)
        image.PatientID, image.PatientName = patient, f"{patient}^Test"
        image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20240131", "120000", "1", ""
        image.InstanceNumber = len(files) + 1 - image.InstanceNumber
        for name, value in tags.items():
            setattr(image, name, value)
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.save_as(file)
    return files


def as_itk(scan: Volume) -> sitk.Image:
    """Voxels as 16-bit numbers, as scanners store them."""
    image = sitk.GetImageFromArray(np.round(scan.voxels.T).astype(np.int16))
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image
