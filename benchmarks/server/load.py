"""Eight viewers at once: masks, thumbnails and /info/ mixed, on a live `wsseg serve` of this machine.

    python benchmarks/server/load.py [--minutes 10] [--model NAME] [--train NAME]

Makes a synthetic study of 24 slices of 256 x 256; with ``--train`` its slices
are labelled, and that model is trained on them all the time. Exits with 1 where
a request failed, where the 99th percentile of GET /info/ is 0.2 s or more, where
the trainer ended, or where memory grew. Memory is the server's resident one with
that of its children but the trainer, in MB, read every half second. Each viewer
gets a mask first, which is not counted, and the first third of the time is not
compared: threads and the allocator take what they need then. Flat is a median of
the last sixth that lies less than 100 MB above that of the sixth after the first
third: a leak of one scan (6 MB as 32-bit numbers) per mask would show after 17
masks, while four scans in memory at a time go up and down by tens of MB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil
import requests
from serving import serving

from wsseg.data.phantom import write_demo_study
from wsseg.models import DEFAULT_MODEL

VIEWERS = 8
MASKS, THUMBNAILS = 0.1, 0.05
"""Parts of the requests that ask for a mask, and for all slices in one picture."""

SCAN = "demo_flair"
TRAINER = "wsseg.server.jobs.job"
"""The module that a training process runs."""

THINK_SECONDS = 0.05
SLOWEST_INFO = 0.2
FLAT_MB = 100.0


@dataclass
class Seen:
    """What the viewers met.

    Attributes:
        info: seconds of each GET /info/.
        masks: seconds of each mask.
        thumbnails: seconds of each picture of all slices.
        errors: one sentence per request that failed.
        memory: seconds since the start and MB.
    """

    info: list[float] = field(default_factory=list)
    masks: list[float] = field(default_factory=list)
    thumbnails: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)

    def info_ms(self, percentile: int) -> float:
        """Of GET /info/."""
        return 1000 * statistics.quantiles(self.info, n=100)[percentile - 1]

    def memory_between(self, first: float, last: float) -> float:
        """Median MB in a part of the time, in [0, 1]."""
        total = self.memory[-1][0]
        return statistics.median(mb for at, mb in self.memory if first * total <= at <= last * total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--train", metavar="NAME", help="Model that is trained meanwhile.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_demo_study(Path(folder) / "studies")
        models = ",".join({arguments.model, arguments.train or arguments.model})
        home = os.environ.get("WSSEG_HOME", folder)
        with serving(home, Path(folder) / "studies", models, Path(folder) / "log") as (address, server):
            seen = _load(address, arguments.model, arguments.train, arguments.minutes, server.pid)
    sys.exit(_report(seen))


def _load(address: str, model: str, trained: str | None, minutes: float, pid: int) -> Seen:
    seen = Seen()
    with ThreadPoolExecutor(VIEWERS) as pool:
        list(pool.map(lambda _: _mask(requests, address, model), range(VIEWERS)))
        if trained:
            _train(address, trained)
        began = time.monotonic()
        end = began + 60 * minutes
        viewers = [pool.submit(_view, address, model, end, random.Random(seed), seen) for seed in range(VIEWERS)]
        while time.monotonic() < end:
            seen.memory.append((time.monotonic() - began, _memory_mb(pid)))
            time.sleep(0.5)
    for viewer in viewers:
        viewer.result()
    if trained:
        _end_training(address, seen)
    return seen


def _view(address: str, model: str, end: float, chance: random.Random, seen: Seen) -> None:
    """One viewer: looks whether the server is there, and now and then runs the model or looks at all slices."""
    with requests.Session() as session:
        while time.monotonic() < end:
            drawn = chance.random()
            started = time.perf_counter()
            try:
                if drawn < MASKS:
                    reply, kind = _mask(session, address, model), seen.masks
                elif drawn < MASKS + THUMBNAILS:
                    url = f"{address}/annotate/api/scans/{SCAN}/sprite?model={model}"
                    reply, kind = session.get(url, timeout=600), seen.thumbnails
                else:
                    reply, kind = session.get(f"{address}/info/", timeout=60), seen.info
                kind.append(time.perf_counter() - started)
                if not reply.ok:
                    seen.errors.append(f"{reply.status_code} {reply.text[:200]}")
            except requests.RequestException as error:
                seen.errors.append(str(error))
            time.sleep(THINK_SECONDS)


class _Poster(Protocol):
    """A session, or the requests module itself."""

    def post(self, url: str, *, data: dict[str, str], timeout: float) -> requests.Response: ...


def _mask(client: _Poster, address: str, model: str) -> requests.Response:
    """A mask as 3D Slicer asks for it."""
    params = {"params": json.dumps({"result_extension": ".nrrd", "result_dtype": "uint8"})}
    return client.post(f"{address}/infer/{model}?image={SCAN}", data=params, timeout=600)


def _train(address: str, model: str) -> None:
    """Label the slices of the scan, half of them as showing each class, and train for longer than the load lasts."""
    api = f"{address}/annotate/api"
    reply = requests.get(f"{api}/scans/{SCAN}?model={model}", timeout=60)
    reply.raise_for_status()
    scan = reply.json()
    for name in scan["presence"]:
        marks = [{"slice": index, "state": index % 2} for index in range(scan["slices"])]
        body = {"label": name, "marks": marks, "annotator": "load"}
        requests.put(f"{api}/scans/{SCAN}/presence?model={model}", json=body, timeout=60).raise_for_status()
    request = {"steps": 1_000_000, "parents": False}
    requests.post(f"{address}/train/{model}", json=request, timeout=60).raise_for_status()


def _end_training(address: str, seen: Seen) -> None:
    status = requests.get(f"{address}/annotate/api/train", timeout=60).json()
    print(f"trainer: {status['model']}, {status['phase']}, {status['step']} steps")
    if status["phase"] != "training":
        seen.errors.append(f"the trainer is {status['phase']}: {status['message']}")
    requests.delete(f"{address}/annotate/api/train", timeout=120)


def _report(seen: Seen) -> int:
    """Print the figures; the exit status."""
    slowest = seen.info_ms(99)
    before, after = seen.memory_between(1 / 3, 1 / 2), seen.memory_between(5 / 6, 1)
    print(f"{VIEWERS} viewers, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    counts = f"{len(seen.info)} of /info/, {len(seen.masks)} of masks, {len(seen.thumbnails)} of thumbnails"
    print(f"requests: {counts}, {len(seen.errors)} errors")
    slow = f"99th percentile {slowest:.0f} ms, worst {1000 * max(seen.info):.0f} ms"
    print(f"/info/: median {seen.info_ms(50):.0f} ms, {slow}")
    print(f"masks: median {statistics.median(seen.masks):.2f} s, worst {max(seen.masks):.2f} s")
    print(f"thumbnails: median {statistics.median(seen.thumbnails):.2f} s, worst {max(seen.thumbnails):.2f} s")
    print(f"memory: start {seen.memory[0][1]:.0f} MB, settled {before:.0f} MB, end {after:.0f} MB")
    wrong = [*seen.errors[:5]]
    if slowest >= 1000 * SLOWEST_INFO:
        wrong.append(f"/info/ takes {slowest:.0f} ms at the 99th percentile")
    if after - before >= FLAT_MB:
        wrong.append(f"memory grew by {after - before:.0f} MB")
    for sentence in wrong:
        print(f"wrong: {sentence}")
    return 1 if wrong else 0


def _memory_mb(pid: int) -> float:
    server = psutil.Process(pid)
    found = 0
    for process in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            found += 0 if TRAINER in process.cmdline() else process.memory_info().rss
    return found / 1e6


if __name__ == "__main__":
    main()
