"""An archive that answers at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live import write_scan
from orthanc import as_itk, write_patient
from stub import Stub, serving

from wsseg.images.formats import read_volume
from wsseg.server.studies.pacs import client, outbox


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setattr(client, "BACKOFF", 0.02)
    monkeypatch.setattr(client, "PATIENCE", (1.0, 0.5))
    monkeypatch.setattr(outbox, "PAUSES", (0.1, 0.2))
    with serving() as made:
        yield made


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A series of six slices."""
    write_scan(tmp_path / "scan.nii.gz", (16, 16, 6))
    return write_patient(tmp_path / "series", "Ada", as_itk(read_volume(tmp_path / "scan.nii.gz")))
