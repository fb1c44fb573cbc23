"""Systems without fcntl and nice, as Windows: everything imports, the server starts, training there says why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys
sys.modules["fcntl"] = None
for name in ("nice", "pwrite"):
    delattr(os, name)
import wsseg.server.app, wsseg.server.jobs.job, wsseg.server.serve
from wsseg.errors import WssegError
from wsseg.files import whole_file
from wsseg.server.jobs.jobs import Jobs
from pathlib import Path
with whole_file(Path(os.environ["WSSEG_HOME"]) / "text") as part:
    part.write_text("whole")
jobs = Jobs(lambda folder, package: 0)
jobs.resume()
jobs.pause()
assert not jobs.running()
try:
    jobs.start("cam-glioma-flair", {})
except WssegError as error:
    print(error)
"""


@pytest.mark.long
def test_where_locks_cannot_be_inherited(tmp_path: Path) -> None:
    environment = {**os.environ, "WSSEG_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "a server trains on Linux and macOS only; `wsseg train` does everywhere"
    assert (tmp_path / "text").read_text("utf-8") == "whole"
