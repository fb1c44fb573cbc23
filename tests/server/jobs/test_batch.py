"""Many scans at a click: on several devices, and one batch after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsseg.server.jobs.batch import RUNS, Batch, Run
from wsseg.server.tasks.request import InferReply, InferRequest

SCANS = ("a", "b", "c", "d", "e")
SECONDS = 20.0
ASKED = InferRequest.parse({"model": "small"})


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[str], InferReply]:
    """What there is of a scan that was segmented."""
    return lambda scan: InferReply(tmp_path / scan, scan, "original", {})


def test_a_device_has_one_scan_and_is_never_waited_for(stored: Callable[[str], InferReply]) -> None:
    """While the first one is slow, the second does all others."""
    others = threading.Semaphore(0)
    seen: list[tuple[str, str]] = []

    def segment(request: InferRequest) -> InferReply:
        seen.append((request.image, request.device))
        if request.image == "a":
            for _ in SCANS[1:]:
                assert others.acquire(timeout=SECONDS)
        else:
            others.release()
        return stored(request.image)

    batch = Batch(segment)
    run = batch.start(ASKED, SCANS, ["cuda:0", "cuda:1"], keep=True)
    batch.wait()
    assert run is not None
    assert (run.stored, run.failed, set(run.results)) == (5, 0, set(SCANS))
    slow = dict(seen)["a"]
    assert [device for scan, device in seen if device == slow] == [slow]


def test_results_of_several_devices_are_all_counted() -> None:
    class Slow(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            time.sleep(0.05)
            return super().__contains__(key)

    run = Run(ASKED, SCANS, keep=False)
    threads = [threading.Thread(target=run.tell, args=(scan, Slow(label=scan))) for scan in SCANS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run.stored == len(SCANS)
    assert run.details[-1].startswith("5 of 5: ")


def test_the_last_few_are_remembered(stored: Callable[[str], InferReply]) -> None:
    batch = Batch(lambda request: stored(request.image))
    runs = []
    for _ in range(RUNS + 2):
        runs.append(batch.start(ASKED, SCANS, ["cpu"], keep=True))
        batch.wait()
    assert [run.id for run in batch.runs] == [run.id for run in runs if run][2:]
