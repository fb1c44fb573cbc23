"""A live `wsseg serve` to be measured."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

START_SECONDS = 300


@contextmanager
def serving(
    home: Path | str, studies: Path, models: str, log: Path, port: int | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address and the process of a server that answers; ended at the end.

    Args:
        home: its work directory.
        studies: folder of scans.
        models: that it offers, separated by commas.
        log: what it says is appended there.
        port: a free one if none is given.
    """
    port = port or free_port()
    command = (sys.executable, "-m", "wsseg", "serve", "--models", models, "--port", str(port))
    with log.open("ab") as out:
        process = subprocess.Popen(
            (*command, "--studies", str(studies)), env={**os.environ, "WSSEG_HOME": str(home)}, stdout=out, stderr=out
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/info/", process, log)
        yield address, process
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            said = log.read_text("utf-8", errors="replace")[-2000:]
            sys.exit(f"the server ended before it answered; {log}:\n{said}")
        try:
            if requests.get(url, timeout=60).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    sys.exit(f"{url}: does not answer")
