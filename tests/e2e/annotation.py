"""Studies to be labelled, and what the annotation page's script asks of their server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from live import SERVE, Server, running, write_scan

from wsseg.data.phantom import make_phantom
from wsseg.images.formats.nifti import write_nifti

API = "/annotate/api"
SLICES = 8
HEADS = ("head_0", "head_1", "head_2", "head_3")
SIDEWAYS = np.array([[0, 0, 5.0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])
"""Slices, 5 mm apart, along the third axis from right to left."""
OTHERWISE = np.diag([5.0, 1.0, 1.0, 1.0])
"""Slices along the first stored axis."""


@pytest.fixture(scope="module", name="studies")
def studies_to_label(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of heads, a scan whose slices are sagittal, one of 300 slices, and a damaged one."""
    folder = tmp_path_factory.mktemp("annotated")
    for seed, head in enumerate(HEADS):
        scan, _ = make_phantom(seed, size=64)
        write_nifti(folder / f"{head}.nii.gz", scan.voxels, scan.affine)
    write_scan(folder / "sideways.nii.gz", (40, 44, SLICES), SIDEWAYS)
    write_scan(folder / "otherwise.nii.gz", (10, 40, 44), OTHERWISE)
    write_scan(folder / "long.nii.gz", (192, 192, 300), np.diag([1.0, 1.0, 2.0, 1.0]))
    (folder / "damaged.nii.gz").write_text("not an image", encoding="utf-8")
    return folder


@pytest.fixture(scope="module", name="server")
def labelling_server(studies: Path, published: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Theirs, with labels and log in a folder of its own."""
    folder = tmp_path_factory.mktemp("annotate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSEG_LABELS", f"sqlite:///{folder / 'shared.sqlite3'}")
        with running((*SERVE, "--studies", str(studies), "--models", published), folder / "log") as server:
            yield server


class Page:
    """What the page's script does."""

    def __init__(self, server: Server, annotator: str = "Zoë") -> None:
        self.url = server.url + API
        self.annotator = annotator

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        return requests.request(method, self.url + path, json=body, timeout=60)

    def get(self, path: str) -> Any:
        reply = self.ask("GET", path)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def mark(self, scan: str, *marks: tuple[int, int | None], label: str = "tumor") -> requests.Response:
        given = [{"slice": index, "state": state} for index, state in marks]
        body = {"label": label, "marks": given, "annotator": self.annotator}
        return self.ask("PUT", f"/scans/{scan}/presence?model=small", body)

    def presence(self, scan: str) -> list[int | None]:
        return self.get(f"/scans/{scan}?model=small")["presence"]["tumor"]


@pytest.fixture(name="page")
def page_of(server: Server) -> Page:
    """Of one annotator."""
    return Page(server)


def refusal(reply: requests.Response, status: int) -> str:
    assert reply.status_code == status, reply.text
    detail = reply.json()["detail"]
    assert "Traceback" not in detail
    assert "/tmp/" not in detail
    assert "\n" not in detail
    return detail
