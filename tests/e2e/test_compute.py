"""Models in a server's memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from live import write_scan

from conftest import small_package
from wsseg.files import home
from wsseg.images.scan import read_scan
from wsseg.images.volume import Volume
from wsseg.models.shelf import publish
from wsseg.server.compute import Compute, StoppingError


@pytest.fixture
def scan(tmp_path: Path) -> Volume:
    write_scan(tmp_path / "scan.nii.gz", (24, 24, 4))
    return read_scan(tmp_path / "scan.nii.gz")


def test_a_published_version_is_used_from_the_next_scan_on(scan: Volume) -> None:
    compute = Compute()
    versions = home() / "models" / "renewed"
    small_package(versions / "1")
    small_package(versions / "2", labels=("tumor", "edema"))
    classes = []
    for version in ("1", "2", "1"):
        publish(home() / "models", "renewed", version)
        classes.append(len(compute.segment("renewed", "cpu", scan, None)[1].labels))
    (versions / "CURRENT").unlink()
    assert classes == [1, 2, 1]


def test_computing_ends_when_the_server_stops(scan: Volume, published: str) -> None:
    compute = Compute()
    compute.segment(published, "cpu", scan, np.ones((1, 4), np.int8))
    compute.stop()
    with pytest.raises(StoppingError):
        compute.segment(published, "cpu", scan, None)
