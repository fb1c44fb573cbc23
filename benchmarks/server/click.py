"""Click to mask: POST to last byte on a warm `wsseg serve`, and the server's peak memory.

    python benchmarks/server/click.py [--models NAME,...] [--clicks 5]

Makes a synthetic study of 24 slices of 256 x 256 and runs a real server on a
free port of this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

import requests
from serving import serving

from wsseg.data.phantom import write_demo_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="cdm-glioma-flair")
    parser.add_argument("--clicks", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        studies = Path(folder) / "studies"
        write_demo_study(studies)
        for model in arguments.models.split(","):
            with serving(folder, studies, model, Path(folder) / "log") as (address, server):
                _measure(address, model, arguments.clicks, server.pid)


def _measure(address: str, model: str, clicks: int, pid: int) -> None:
    idle = _peak_mb(pid)
    first = _click(address, model)
    info: list[float] = []
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(f"{address}/info/", info, done))
    watcher.start()
    times = [_click(address, model) for _ in range(clicks)]
    done.set()
    watcher.join()
    info.sort()
    print(f"{model}, 24 slices of 256 x 256, {os.cpu_count()} cores")
    print(f"click to mask: first {first:.2f} s, then {statistics.mean(times):.2f} ± {statistics.pstdev(times):.2f} s")
    print(f"GET /info/ meanwhile: {len(info)} requests, 99th percentile {info[int(0.99 * (len(info) - 1))]:.3f} s")
    print(f"peak memory: {_peak_mb(pid):.0f} MB, before the first click {idle:.0f} MB")


def _click(address: str, model: str) -> float:
    """What 3D Slicer sends when Run is clicked."""
    params = {"result_extension": ".nrrd", "result_dtype": "uint8"}
    started = time.perf_counter()
    reply = requests.post(
        f"{address}/infer/{model}", params={"image": "demo_flair"}, data={"params": json.dumps(params)}, timeout=600
    )
    took = time.perf_counter() - started
    reply.raise_for_status()
    return took


def _watch(url: str, times: list[float], done: threading.Event) -> None:
    while not done.is_set():
        started = time.perf_counter()
        requests.get(url, timeout=60).raise_for_status()
        times.append(time.perf_counter() - started)
        time.sleep(0.02)


def _peak_mb(pid: int) -> float:
    """Peak resident memory as Linux counts it."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
