"""Temporary files of servers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from wsseg.server import temporary
from wsseg.server.temporary import temporary_folder


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_all_temporary_files_lie_in_one_folder_that_goes(system: Path) -> None:
    with temporary_folder() as folder:
        assert folder.parent == system
        with tempfile.NamedTemporaryFile(delete=False) as file:
            assert Path(file.name).parent == folder
        told = subprocess.check_output([sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"])
        assert told.decode().strip() == str(folder)
    assert list(system.iterdir()) == []
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(system)


def test_what_a_killed_server_left_goes_and_a_live_ones_stays(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsseg.files._BEGUN", -1.0)
    killed = "import os, signal; from wsseg.server.temporary import temporary_folder as t; c = t(); c.__enter__();"
    code = f"{killed} open(os.environ['TMPDIR'] + '/scan', 'w'); os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    [left] = system.glob(f"{temporary.PREFIX}*")
    assert (left / "scan").exists()
    (system / "of somebody else").touch()
    with temporary_folder() as live:
        assert not left.exists()
        with temporary_folder():
            assert live.exists()
    assert [path.name for path in system.iterdir()] == ["of somebody else"]
