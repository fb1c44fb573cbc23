"""Temporary files of a server: uploads, unpacked archives, masks on their way out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsseg.files import held, sweep

PREFIX = "wsseg-server-"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for all temporary files of this process and of those it starts, removed at the end.

    A server that is killed leaves it, with scans in it, to the next one that starts.
    """
    sweep(Path(tempfile.gettempdir()), f"{PREFIX}*")
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name, held(Path(name)):
        tempfile.tempdir = os.environ["TMPDIR"] = name
        try:
            yield Path(name)
        finally:
            tempfile.tempdir = before[0]
            if before[1] is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before[1]
