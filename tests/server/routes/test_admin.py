"""Routes that ask other programs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from wsseg.errors import UnavailableError
from wsseg.server.routes import admin


def test_a_driver_that_is_stuck_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec /bin/sleep 20\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(admin, "GPU_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="nvidia-smi does not answer"):
        admin.gpus()
    assert time.monotonic() - began < 10
