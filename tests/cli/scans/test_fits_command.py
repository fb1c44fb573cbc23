from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command import wsseg
from conftest import small_package
from wsseg.data.phantom import write_phantom_data
from wsseg.files import home
from wsseg.images.folder import scan_files
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.scan import read_scan
from wsseg.models.shelf import publish

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    write_phantom_data(folder, cases=10, seed=3, size=64)
    return folder


@pytest.fixture(scope="module")
def known(work_home: Path, heads: Path) -> str:
    """The name of a published model that was described by ``wsseg describe``."""
    small_package(home() / "models" / "known" / "0.1")
    publish(home() / "models", "known", "0.1")
    done = wsseg("describe", "known", "--data", heads)
    assert done.stdout.strip().endswith("known/0.1/models/domain.safetensors")
    return "known"


@pytest.fixture
def foreign(heads: Path, tmp_path: Path) -> Path:
    scan = read_scan(next(iter(scan_files(heads).values())))
    noise = np.random.default_rng(0).normal(100, 20, scan.shape).astype(np.float32)
    write_nifti(tmp_path / "noise.nii.gz", noise, scan.affine)
    return tmp_path / "noise.nii.gz"


def test_a_foreign_scan_is_segmented_with_a_warning(known: str, foreign: Path, tmp_path: Path) -> None:
    facts = tmp_path / "facts.json"
    done = wsseg("segment", foreign, tmp_path / "mask.nii.gz", "--model", known, "--json", facts, "--device", "cpu")
    assert "this scan does not fit known, p = " in done.stderr
    assert "unlike its training scans in " in done.stderr
    assert (tmp_path / "mask.nii.gz").exists()
    assert json.loads(facts.read_text("utf-8"))["fits"]["doubtful"] is True


def test_a_foreign_scan_is_refused_if_that_is_asked_for(known: str, foreign: Path, tmp_path: Path) -> None:
    options = ("--model", known, "--device", "cpu", "--refuse")
    done = wsseg("segment", foreign, tmp_path / "mask.nii.gz", *options, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("wsseg: scan: does not fit known, p = ")
    assert not (tmp_path / "mask.nii.gz").exists()


def test_a_known_scan_is_not_warned_of(known: str, heads: Path, tmp_path: Path) -> None:
    scan = next(iter(scan_files(heads).values()))
    done = wsseg("segment", scan, tmp_path / "mask.nii.gz", "--model", known, "--device", "cpu", "--refuse")
    assert "does not fit" not in done.stderr


def test_too_few_scans_describe_nothing(known: str, phantom_data: Path) -> None:
    done = wsseg("describe", known, "--data", phantom_data, check=False)
    assert done.returncode == 2
    assert "holds scans of fewer than 8 patients" in done.stderr


def test_what_is_to_be_known_of_a_mask_is_said(known: str, heads: Path, tmp_path: Path) -> None:
    """That a model cannot tell what it was made for, and where to look or that there is nothing."""
    small_package(home() / "models" / "unknown" / "0.1")
    publish(home() / "models", "unknown", "0.1")
    scan, facts = next(iter(scan_files(heads).values())), tmp_path / "facts.json"
    for name in (known, "unknown"):
        done = wsseg("segment", scan, tmp_path / "mask.nii.gz", "--model", name, "--json", facts, "--device", "cpu")
        told, found = " ".join(done.stderr.split()), json.loads(facts.read_text("utf-8"))
        assert ("cannot tell whether it was made for such a scan" in told) == (name == "unknown")
        if not any(found["voxels"].values()):
            assert "nothing was found, the mask is empty" in told
        else:
            assert f"slices {', '.join(map(str, found['look_at']))}" in told
