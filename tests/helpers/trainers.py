"""Training jobs: a work directory with a small model, and a folder as the server leaves it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import small_package
from wsseg.files import home
from wsseg.models.shelf import publish
from wsseg.server.jobs.job_folder import JobFolder, Plan


@contextmanager
def small_home(folder: Path) -> Iterator[None]:
    """A work directory with a small model in it."""
    handler = signal.getsignal(signal.SIGTERM)  # a trainer has its own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSEG_HOME", str(folder))
        small_package(home() / "models" / "tiny" / "0.1", "cam")
        publish(home() / "models", "tiny", "0.1")
        yield
    signal.signal(signal.SIGTERM, handler)


def new_job(name: str = "tiny", steps: int = 2, parts: list[str] | None = None) -> JobFolder:
    """A folder as the server leaves it before it starts the trainer."""
    plan = Plan(name, dict.fromkeys(parts or [name], steps))
    job = JobFolder.create(home() / "jobs", plan)
    job.write_plan(plan)
    return job
