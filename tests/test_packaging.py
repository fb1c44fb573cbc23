"""The wheel holds the models and the app folder, and works away from the clone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from conftest import REPOSITORY
from wsseg.files import home

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source") / "wsseg"
    # From a copy: setuptools leaves its build folder beside the sources.
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, encoding="utf-8"
    )
    for name in listed.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_models_app_and_page_are_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for part in (
        "model/cdm-glioma-flair/models/model.safetensors",
        "model/cdm-glioma-flair/configs/metadata.json",
        "model/cdm-glioma-flair/LICENSE",
        "model/cam-glioma-flair/models/model.safetensors",
        "apps/wsseg/main.py",
    ):
        assert f"wsseg/bundled/{part}" in names
    assert {"wsseg/server/page/index.html", "wsseg/server/page/main.js", "wsseg/py.typed"} <= names
    modules = {str(path.relative_to(REPOSITORY / "lib")) for path in (REPOSITORY / "lib").rglob("*.py")}
    assert modules <= names
    assert not any(name.startswith("tests/") for name in names)


def test_every_package_of_the_library_is_listed() -> None:
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    found = {
        ".".join(init.parent.relative_to(REPOSITORY / "lib").parts) for init in REPOSITORY.glob("lib/**/__init__.py")
    }
    listed = {name for name in setup["options"]["packages"].split() if not name.startswith("wsseg.bundled")}
    assert listed == found


def test_installed_wheel_segments_elsewhere(wheel: Path, phantom_data: Path, tmp_path: Path) -> None:
    """Installed into a folder of its own, found before the clone's copy, run from another directory."""
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "WSSEG_HOME": str(home())}
    where = "import wsseg, wsseg.models.shelf as p; print(wsseg.__file__); print(p.bundled('model'))"
    found = _run([sys.executable, "-c", where], environment, tmp_path).split()
    assert all(Path(path).is_relative_to(site) for path in found)
    scan = next(phantom_data.glob("*[0-9].nii.gz"))
    _run([str(site / "bin" / "wsseg"), "segment", str(scan), "mask.nii.gz"], environment, tmp_path)
    assert (tmp_path / "mask.nii.gz").stat().st_size


def test_the_library_works_without_monailabel(phantom_data: Path, tmp_path: Path) -> None:
    """The base install has no server: training, segmenting and the command line never import it."""
    scan = next(phantom_data.glob("*[0-9].nii.gz"))
    code = (
        "import sys; sys.modules['monailabel'] = None\n"
        "import wsseg.training.run, wsseg.evaluation.evaluate, wsseg.images.dicom.series\n"
        f"sys.argv = ['wsseg', 'segment', {str(scan)!r}, 'mask.nrrd']\n"
        "from wsseg.cli import main; main()\n"
    )
    _run([sys.executable, "-c", code], dict(os.environ), tmp_path)
    assert (tmp_path / "mask.nrrd").stat().st_size


def _run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
