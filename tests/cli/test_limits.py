"""``--max-scan-gb`` of the commands that read scans."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wsseg.cli import main
from wsseg.images.limits import MAX_SCAN_GB, max_scan_gb
from wsseg.server import serve

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The program in this process: its exit code and what it says; the environment is as before afterwards."""
    monkeypatch.setenv(MAX_SCAN_GB, "1e-4")

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["wsseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capfd.readouterr().err

    return run


def test_segment_reads_a_larger_scan_where_it_is_told_to(run: Run, published: str, tmp_path: Path) -> None:
    scan, out = tmp_path / "scan.nii", tmp_path / "mask.nii"
    voxels = np.random.default_rng(0).integers(0, 200, (64, 64, 8)).astype(np.uint8)
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2, 5, 1])), scan)  # 1.2e-4 GiB at four bytes a voxel
    asked = ("segment", scan, out, "--model", published, "--device", "cpu")
    code, said = run(*asked)
    assert code == 2
    assert "at most 0.0001 GiB are read, --max-scan-gb" in said
    assert not out.exists()
    assert run(*asked, "--max-scan-gb", "0.0002")[0] == 0
    assert out.exists()


def test_serve_hands_it_to_what_it_starts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    monkeypatch.setattr(serve, "serve", lambda *_arguments: limits.append((max_scan_gb(), os.environ[MAX_SCAN_GB])))
    assert run("serve", "--max-scan-gb", "4") == (0, "")
    assert limits == [(4, "4.0")]


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf"])
@pytest.mark.parametrize("command", [("serve",), ("segment", "scan.nii", "mask.nii")])
def test_no_size_is_refused(run: Run, command: tuple[str, ...], size: str) -> None:
    code, said = run(*command, "--max-scan-gb", size)
    assert code == 2
    assert MAX_SCAN_GB in said
