"""An archive run of real-sized series against the bare model, and against `wsseg segment` called once a scan.

python benchmarks/archive/pace.py --run DIR [--series 200] [--model NAME] [--single 20]

A real Orthanc with series of 100 slices of 256 x 256 (a synthetic head, another
UID and patient each). Then, one after the other:

bare
    Two processes of one thread each that have the model loaded and the scan in
    memory segment all of them, half each.
archive
    `wsseg archive --workers 2`, from its start to its end, on an archive
    without results and a work directory without rows.
single
    `wsseg segment` on a folder of DICOM, called anew for some of the series.

Each step is noted in DIR when it is whole (of `single` each call), and not done
again: stopped and called again it goes on. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

from pacs import Orthanc, head, series

from wsseg.images.dicom.series import read_series
from wsseg.models import DEFAULT_MODEL
from wsseg.models.shelf import find_package

PACS = 18044

SLICES, SIDE = 100, 256

WORKERS = 2

PATIENCE = 600.0
"""Seconds that a process waits for the other to have loaded the model."""


class Notes:
    """Seconds by step, on disk."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds: dict[str, list[float]] = json.loads(file.read_text("utf-8")) if file.exists() else {}

    def of(self, step: str) -> list[float]:
        """What was noted of a step; nothing before it was done."""
        return self._seconds.get(step, [])

    def once(self, step: str, do: Callable[[], list[float]]) -> list[float]:
        """Do a step unless it is noted; what it took."""
        if step not in self._seconds:
            print(f"{step} ...", flush=True)
            self.note(step, do())
        return self._seconds[step]

    def note(self, step: str, seconds: list[float]) -> None:
        """Write down."""
        self._seconds[step] = seconds
        self._file.write_text(json.dumps(self._seconds), encoding="utf-8")


_TOGETHER: list[Barrier] = []
"""Of the processes that segment without an archive, in each of them."""


def _meet(together: Barrier) -> None:
    _TOGETHER.append(together)


def bare(folder: Path, model: str, count: int) -> list[float]:
    """In a process of its own: segment one scan again and again; the seconds of each."""
    from wsseg.inference.segmenter import Segmenter

    segmenter, scan = Segmenter(model, "cpu"), read_series(folder).volume
    segmenter(scan)
    _TOGETHER[0].wait(PATIENCE)
    seconds = []
    for _ in range(count):
        began = time.monotonic()
        segmenter(scan)
        seconds.append(time.monotonic() - began)
    return seconds


def all_bare(folder: Path, model: str, count: int) -> list[float]:
    """The seconds of each series."""
    os.environ["OMP_NUM_THREADS"] = "1"  # as Dask does for its workers
    context = multiprocessing.get_context("spawn")
    shares = [count // WORKERS + (number < count % WORKERS) for number in range(WORKERS)]
    met = (context.Barrier(WORKERS),)
    with ProcessPoolExecutor(WORKERS, context, initializer=_meet, initargs=met) as pool:
        jobs = [pool.submit(bare, folder, model, share) for share in shares]
        seconds = [each for job in jobs for each in job.result()]
    del os.environ["OMP_NUM_THREADS"]
    return seconds


def archive(pacs: Orthanc, model: str, folder: Path) -> list[float]:
    """The seconds of the whole command."""
    for modality in ("SEG", "SR"):
        pacs.forget(modality)
    home = folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    command = ("archive", pacs.url, "--model", model, "--workers", str(WORKERS))
    began = time.monotonic()
    with (folder / "archive.log").open("wb") as log:
        subprocess.run(wsseg(*command), check=True, stdout=log, stderr=log, env={**os.environ, "WSSEG_HOME": str(home)})
    return [time.monotonic() - began]


def single(files: Path, model: str, out: Path) -> float:
    """The seconds of one call."""
    began = time.monotonic()
    subprocess.run(wsseg("segment", str(files), str(out), "--model", model), check=True, capture_output=True)
    return time.monotonic() - began


def wsseg(*words: str) -> list[str]:
    """A command."""
    return [sys.executable, "-m", "wsseg", *words]


def main() -> None:
    """Do what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder that it goes on in")
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--single", type=int, default=20)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was begun is ended
    asked.run = asked.run.resolve()
    files = asked.run / "series"
    files.mkdir(parents=True, exist_ok=True)
    notes, voxels = Notes(asked.run / "seconds.json"), head(SLICES, SIDE)
    for index, file in enumerate(series(0, voxels)):
        (files / f"{index:03d}.dcm").write_bytes(file)
    pacs = Orthanc(asked.run / "orthanc", "127.0.0.1", PACS)
    pacs.start()
    try:

        def sent() -> list[float]:
            began = time.monotonic()
            for number in range(asked.series):
                pacs.take(series(number, voxels))
            return [time.monotonic() - began]

        notes.once("sent", sent)
        model = notes.once("bare", lambda: all_bare(files, asked.model, asked.series))
        (whole,) = notes.once("archive", lambda: archive(pacs, asked.model, asked.run))
        version = find_package(asked.model).metadata.version
        held = [sorted(pacs.objects(kind, version).values()) for kind in ("SEG", "SR")]
    finally:
        pacs.stop()
    while len(calls := notes.of("single")) < asked.single:
        notes.note("single", [*calls, single(files, asked.model, asked.run / "single.dcm")])
    right = all(each == [1] * asked.series for each in held)
    print(f"{asked.model}, {asked.series} series of {SLICES} x {SIDE} x {SIDE}, {WORKERS} workers")
    print(f"bare model: {sum(model):.1f} s, {sum(model) / len(model):.2f} s a series")
    share, over = sum(model) / WORKERS / whole, (WORKERS * whole - sum(model)) / asked.series
    print(f"archive: {whole:.1f} s, {100 * share:.0f} % of it the model's (the aim: 90), {over:.2f} s a series beyond")
    mean = sum(calls) / len(calls)
    print(f"wsseg segment: {mean:.1f} s a call, {mean * asked.series / whole:.1f} times the archive's (the aim: 4)")
    print("every series has one SEG and one SR" if right else "WRONG: not every series has one SEG and one SR")
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
