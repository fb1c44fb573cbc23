"""Small broken files, made by a script that lies beside the real scans, through the program and a live server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from live import SERVE, Server, running, write_scan

from wsseg.cli import main
from wsseg.images.scan import read_any

SECONDS = 10.0
"""For a refusal, wherever it comes from."""

FINE = ("good", "are_fine")
"""Parts of the names of files that are to be read."""


@pytest.fixture(scope="module")
def cases(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files by name."""
    script = shared.parent / "cases" / "make.py"
    if not script.is_file():
        pytest.skip(f"there is no {script}")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def server(published: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "studies").mkdir()
    write_scan(folder / "studies" / "case.nii.gz", (24, 20, 6))
    with running((*SERVE, "--studies", str(folder / "studies"), "--models", published), folder / "log") as server:
        yield server


def is_fine(name: str) -> bool:
    return any(part in name for part in FINE)


@pytest.mark.long
def test_the_program_refuses_each_in_a_sentence(
    cases: dict[str, Path], published: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, path in cases.items():
        if is_fine(name):
            continue
        arguments = ["wsseg", "segment", str(path), str(tmp_path / "mask.nii.gz"), "--model", published]
        began = time.monotonic()
        with patch.object(sys, "argv", arguments), pytest.raises(SystemExit) as end:
            main()
        took = time.monotonic() - began
        said = capfd.readouterr()
        assert end.value.code == 2, name
        assert said.err.startswith(f"wsseg: {path}: "), name
        assert said.err.count("\n") == 1, said.err
        assert took < SECONDS, name
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_the_server_refuses_each_in_a_sentence(cases: dict[str, Path], server: Server, published: str) -> None:
    for name, path in cases.items():
        if is_fine(name):
            continue
        for method, route in (("POST", f"/infer/{published}"), ("PUT", "/datastore/image")):
            began = time.monotonic()
            reply = server.ask(route, method, {"params": "{}"}, path)
            assert reply.status == 400, f"{route}, {name}: {reply.status}"
            assert reply.detail.startswith(f"{name}: "), f"{route}: {reply.detail}"
            assert time.monotonic() - began < SECONDS, f"{route}, {name}"
    assert server.ask("/info/").json["datastore"]["total"] == 1


@pytest.mark.long
def test_the_others_have_the_same_volume(cases: dict[str, Path], server: Server, published: str) -> None:
    fine = {name: path for name, path in cases.items() if is_fine(name)}
    assert len(fine) > 2
    found = {}
    for name, path in fine.items():
        reply = server.ask(f"/infer/{published}?output=json", "POST", {"params": "{}"}, path)
        assert reply.status == 200, reply.body
        found[name] = reply.json["millilitres"]["tumor"]
    for name, millilitres in found.items():
        assert millilitres == pytest.approx(found["good.nii"], rel=1e-3), name
        assert read_any(fine[name]).volume.voxel_ml == pytest.approx(0.02), name
