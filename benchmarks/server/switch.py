"""Ends a trainer as a power cut does, once, at the moment of the switch to a new version that a file names.

Those moments last a thousandth of a second; nobody outside the trainer would meet them.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

MOMENTS = ("a draft", "under its name", "while CURRENT is written", "once it is replaced")

TRAP = "WSSEG_TRAP"
"""The environment's variable with the name of a file, which holds one of ``MOMENTS``."""


class _Trap:
    """Follows what is opened and renamed in a model's folder."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._moment = file.read_text("utf-8")
        self._replaced = False

    def __call__(self, event: str, told: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename") or not isinstance(told[0], (str, Path)):
            return
        path = Path(told[0])
        if self._moment == self._reached(event, path, told[1]):
            self._moment = ""
            self._file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def _reached(self, event: str, path: Path, target: Any) -> str | None:
        """The moment just before something is opened or renamed."""
        if event == "os.rename" and path.name.startswith(".draft-"):
            return MOMENTS[0]
        if event == "os.rename" and Path(target).name == "CURRENT":
            self._replaced = self._moment == MOMENTS[3]
            return MOMENTS[2]
        if event == "open" and path.name.startswith(".wsseg-") and path.parents[1].name == "models":
            return MOMENTS[1]
        return MOMENTS[3] if event == "open" and self._replaced else None


def arm() -> None:
    """In a process that is to end so: of which ``WSSEG_TRAP`` names a file that is there."""
    if (file := os.environ.get(TRAP)) and Path(file).exists():
        sys.addaudithook(_Trap(Path(file)))
