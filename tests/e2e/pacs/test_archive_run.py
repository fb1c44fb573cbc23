"""`wsseg archive` with a real Orthanc and Dask's workers as processes, killed in the middle."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from orthanc import AUTH, Orthanc, as_itk, orthanc, write_patient
from pydicom import dcmread

from wsseg.archive.web.client import PASSWORD, USER
from wsseg.data.phantom import make_phantom

PATIENTS = ("Ada", "Bo", "Cy", "Di")

SECONDS = 400
"""Within which a run ends; most of it is for importing Python's libraries three times."""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orthanc]:
    """Four heads, one of which lacks a slice."""
    monkeypatch.setenv(USER, AUTH[0])
    monkeypatch.setenv(PASSWORD, AUTH[1])
    folder = tmp_path / "orthanc"
    folder.mkdir()
    with orthanc(folder) as made:
        for seed, patient in enumerate(PATIENTS):
            files = write_patient(tmp_path / patient, patient, as_itk(make_phantom(seed, size=64)[0]))
            made.send(files if patient != "Di" else files[:2] + files[3:])
        yield made


def started(archive: Orthanc, model: str, log: Path) -> subprocess.Popen[bytes]:
    command = (sys.executable, "-m", "wsseg", "archive", archive.url, "--model", model, "--workers", "1")
    with log.open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent)


def studies_of(archive: Orthanc, modality: str) -> list[str]:
    """Studies, once for each SEG or SR in them."""
    return sorted(str(series.StudyInstanceUID) for series in archive.series(Modality=modality))


def test_a_killed_run_goes_on_and_every_series_has_one_seg_and_one_sr(
    archive: Orthanc, published: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    killed = started(archive, published, log)
    end = time.monotonic() + SECONDS
    while not studies_of(archive, "SEG"):
        assert killed.poll() is None, log.read_text("utf-8")
        assert time.monotonic() < end, log.read_text("utf-8")
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    log = tmp_path / "second"  # workers of the killed one may have last words about it
    assert started(archive, published, log).wait(SECONDS) == 1, log.read_text("utf-8")
    told = log.read_text("utf-8")
    assert "3 of 4 series segmented, 1 failed" in told
    assert "Traceback" not in told
    whole = [dcmread(next((tmp_path / patient).glob("*.dcm"))).StudyInstanceUID for patient in PATIENTS[:3]]
    for modality in ("SEG", "SR"):
        assert studies_of(archive, modality) == sorted(map(str, whole))
