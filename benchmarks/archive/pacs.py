"""A real Orthanc in a folder of its own, and DICOM series to put into it."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy import ndimage

from wsseg.data.phantom import make_phantom
from wsseg.errors import WssegError

MR = "1.2.840.10008.5.1.4.1.1.4"

PLUGINS = "/usr/share/orthanc/plugins"

PATIENCE = 120.0
"""Seconds within which it must answer."""


class Orthanc:
    """An archive that asks for no password.

    Args:
        folder: of what it holds.
        host: address that it is reached at.
        port: TCP port.
        within: words before its command, as ``ip netns exec NAME``.
    """

    def __init__(self, folder: Path, host: str, port: int, within: Sequence[str] = ()) -> None:
        self._root = f"http://{host}:{port}"
        self.url = f"{self._root}/dicom-web"
        self._command = [*within, shutil.which("Orthanc") or "Orthanc", str(folder / "orthanc.json")]
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        storage = str(folder / "storage")
        configuration = {
            "StorageDirectory": storage,
            "IndexDirectory": storage,
            "HttpPort": port,
            "RemoteAccessAllowed": True,
            "AuthenticationEnabled": False,
            "DicomServerEnabled": False,
            "Plugins": [f"{PLUGINS}/libOrthancDicomWeb.so"],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration), encoding="utf-8")

    def start(self) -> None:
        """With what it holds; returns when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if requests.get(f"{self._root}/system", timeout=5).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.2)
        raise WssegError(f"Orthanc does not answer, see {self._log}")

    def kill(self) -> None:
        """As a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """In order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def take(self, files: Iterator[bytes]) -> None:
        """Store files; what is there stays."""
        for file in files:  # each by a connection of its own: Orthanc closes those that wait for a second
            requests.post(f"{self._root}/instances", data=file, timeout=60).raise_for_status()

    def objects(self, modality: str, version: str) -> Counter[str]:
        """Objects of a modality in each study, of those that a version of a model made."""
        counted: Counter[str] = Counter()
        for series in self._find(Modality=modality, SeriesDescription=f"*{version}*"):
            counted[series["ParentStudy"]] += len(series["Instances"])
        return counted

    def forget(self, modality: str) -> None:
        """All series of a modality."""
        for series in self._find(Modality=modality):
            requests.delete(f"{self._root}/series/{series['ID']}", timeout=60).raise_for_status()

    def _find(self, **query: str) -> list[dict[str, Any]]:
        asked: Any = {"Level": "Series", "Expand": True, "Query": query}
        return requests.post(f"{self._root}/tools/find", json=asked, timeout=60).json()


def head(slices: int, side: int) -> NDArray[np.int16]:
    """A synthetic head, (slices, rows, columns)."""
    voxels = make_phantom(0, size=256 if side > 64 else 64)[0].voxels.T.astype(np.float32)
    scale = np.array((slices, side, side)) / voxels.shape
    return np.round(4 * ndimage.zoom(voxels, scale, order=1)).astype(np.int16)


def series(number: int, voxels: NDArray[np.int16]) -> Iterator[bytes]:
    """The files of one, the same whenever it is made; its study has no other."""
    study, own, frame = (generate_uid(entropy_srcs=[kind, str(number)]) for kind in ("study", "series", "frame"))
    for index, plane in enumerate(voxels):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = MR, generate_uid(entropy_srcs=[own, str(index)])
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, own, frame
        image.PatientID, image.PatientName, image.PatientBirthDate, image.PatientSex = f"P{number:06d}", "A^B", "", ""
        image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20240131", "120000", "1", ""
        image.Modality, image.SeriesDescription, image.BodyPartExamined = "MR", "FLAIR", "HEAD"
        image.SeriesNumber, image.InstanceNumber = 1, index + 1
        image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 1.5 * index], [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness, image.SpacingBetweenSlices = [0.9, 0.9], 1.5, 1.5
        image.Rows, image.Columns = plane.shape
        image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 1
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelData = plane.tobytes()
        image.is_little_endian, image.is_implicit_VR = True, False
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = MR
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        out = BytesIO()
        dcmwrite(out, image, write_like_original=False)
        yield out.getvalue()
