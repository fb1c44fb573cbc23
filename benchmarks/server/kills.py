"""A server's trainer killed with SIGKILL: at any moment, and at the very switch to a new version.

    python benchmarks/server/kills.py [--anywhere 50] [--switch 10] [--seed 0] [--rows kills.jsonl]

A small CAM is trained on a synthetic head by the jobs that `wsseg serve`
runs, in a work directory of its own. After every kill the model in use must
load, and its mask must be that of the version in use. What is counted besides:

anywhere
    One long job, saving after each step; kills at random while it starts and
    while it trains. The trainer that follows goes on at the checkpoint.

switch
    A job of two steps each time, killed as its new version appears on disk: as
    a draft, under its name, while CURRENT is written, once it is replaced. These
    last a thousandth of a second, so the trainer kills itself (switch.py). The job
    must then end with that one version in use, trained once.

Every kill is a row of a file as soon as it is over; the same command does what
is missing there, and tells of all rows. Exits with 1 where anything is
otherwise, or takes longer than five minutes, which only a busy machine needs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from switch import MOMENTS, TRAP

from wsseg.data.phantom import write_phantom_data
from wsseg.errors import WssegError
from wsseg.files import home
from wsseg.images.folder import scan_files
from wsseg.images.scan import read_scan
from wsseg.inference.segmenter import Segmenter
from wsseg.methods.registry import create_method, stored_weights
from wsseg.models.package import ModelPackage, write_package
from wsseg.models.shelf import find_package, publish, versions
from wsseg.server.jobs.jobs import Jobs
from wsseg.server.jobs.lock import TrainerLock
from wsseg.training.checkpoint import CHECKPOINT, Checkpoint
from wsseg.training.progress import TrainingProgress

MODEL = "tiny"
PATIENCE = 300.0
"""Seconds that anything may take, a trainer's start included."""

SMALL = {"widths": [8, 16, 32, 32], "layer": "layer2"}
"""Of a CAM that trains a step in a hundredth of a second."""


class TooSlowError(WssegError):
    """Something did not happen in time."""


@dataclass
class Kill:
    """What one kill did.

    Attributes:
        part: "anywhere" or "switch".
        number: in its part, from 0.
        moment: one of ``MOMENTS`` and which version was in use then; "" anywhere.
        seconds: until the next trainer trained, or until the job had ended.
        wrong: one sentence each.
    """

    part: str
    number: int
    moment: str = ""
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Rows:
    """The kills that are over, one line each of a file that may hold some already."""

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        self.kills = [Kill(**json.loads(line)) for line in lines]

    def missing(self, part: str, count: int) -> list[int]:
        """Numbers of the kills of a part that are to be done."""
        return sorted(set(range(count)) - {kill.number for kill in self.kills if kill.part == part})

    def add(self, kill: Kill) -> None:
        """Keep one."""
        self.kills.append(kill)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(kill)) + "\n")


class Bench:
    """A work directory with a model and jobs; everything lies in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        write_phantom_data(self.data, cases=1, seed=0, size=64)  # nothing is held back, so no version is worse
        self.scan = read_scan(next(iter(scan_files(self.data).values())))
        write_small_model()
        self.jobs = Jobs(self._snapshot)
        self.lock = TrainerLock(home() / "jobs" / "LOCK")
        self.masks: dict[str, NDArray[np.generic]] = {}
        self.trap = folder / "trap"
        # Python imports it by itself.
        (folder / "sitecustomize.py").write_text("from switch import arm\n\narm()\n", encoding="utf-8")
        paths = (str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH"))
        os.environ |= {TRAP: str(self.trap), "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def _snapshot(self, folder: Path, package: ModelPackage) -> int:
        shutil.copytree(self.data, folder, dirs_exist_ok=True)
        return len(scan_files(folder))

    def kill(self) -> None:
        """End the trainer as a power cut does."""
        pid = self.lock.pid()
        if pid is None:
            raise TooSlowError("there is no trainer to kill")
        os.kill(pid, signal.SIGKILL)

    def look(self, kill: Kill) -> str:
        """The version in use, which must load and segment as it did before."""
        package = find_package(MODEL)
        version = package.metadata.version
        mask = Segmenter(str(package.folder), "cpu")(self.scan).mask.voxels
        if not np.array_equal(self.masks.setdefault(version, mask), mask):
            kill.wrong.append(f"{version} segments otherwise than before")
        return version

    def trains(self) -> bool:
        """Whether a trainer lives and has got to its steps."""
        return self.lock.pid() is not None and self.jobs.progress().phase == "training"

    def step(self) -> int:
        """How far the job says that it is."""
        return self.jobs.progress().step

    def is_past(self, step: int) -> bool:
        """Whether the job has come further."""
        return self.step() > step

    def goes_on(self, told: TrainingProgress) -> bool:
        """Whether a trainer trains, and has told something else."""
        return self.trains() and self.jobs.progress() != told

    def saved(self) -> int:
        """The step at which the newest job's checkpoint goes on, 0 where there is none yet."""
        job = self.jobs.newest()
        checkpoint = Checkpoint.read(job.run(MODEL) / CHECKPOINT) if job else None
        return int(checkpoint.step) if checkpoint else 0


def write_small_model() -> None:
    """A package of the shipped CAM's kind with few, random weights."""
    shipped = find_package("cam-glioma-flair")
    metadata = shipped.metadata.model_copy(deep=True)
    metadata.version = "0.1.0"
    metadata.wsseg.settings = {**metadata.wsseg.settings, **SMALL}
    metadata.wsseg.size = 32
    folder = home() / "models" / MODEL / metadata.version
    write_package(folder, metadata, {}, "card", "licence")
    publish(home() / "models", MODEL, metadata.version)
    untrained = find_package(MODEL)
    shutil.rmtree(folder)
    write_package(folder, metadata, stored_weights(create_method(untrained)), "card", "licence")


def wait_for(what: str, condition: Callable[[], object]) -> None:
    """Look again and again.

    Raises:
        TooSlowError: it took longer than ``PATIENCE``.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TooSlowError(f"{what}: not within {PATIENCE:.0f} s")
        time.sleep(0.02)


def kill_anywhere(bench: Bench, numbers: list[int], seed: int, rows: Rows) -> None:
    """One job killed many times: in every fifth trainer while it starts, else while it trains."""
    bench.jobs.start(MODEL, {"steps": "1000000"})
    job = bench.jobs.newest()
    plan = job.plan() if job else None
    if job is None or plan is None:
        raise TooSlowError("there is no job")
    job.write_plan(replace(plan, save_every=0.0))
    wait_for("the first step", lambda: bench.step() > 0)
    for number in numbers:
        kill, reached = Kill("anywhere", number), bench.step()
        if number % 5 != 4:
            wait_for("the next step", partial(bench.is_past, reached))
        time.sleep(random.Random(f"{seed} {number}").uniform(0, 1))
        bench.kill()
        began = time.monotonic()
        saved = bench.saved()
        bench.look(kill)
        told = bench.jobs.progress()  # by the trainer that was killed, until the next one tells its own
        wait_for("the next trainer", partial(bench.goes_on, told))
        kill.seconds = time.monotonic() - began
        if bench.step() < saved:
            kill.wrong.append(f"at step {bench.step()} after a checkpoint at {saved}")
        rows.add(kill)
    bench.jobs.cancel()
    bench.jobs.wait()


def kill_at_the_switch(bench: Bench, number: int) -> Kill:
    """A job killed as its version appears."""
    kill = Kill("switch", number, MOMENTS[number % len(MOMENTS)])
    before = bench.look(kill)
    there = {version.version for version in versions(MODEL)}
    bench.trap.write_text(kill.moment, encoding="utf-8")
    bench.jobs.start(MODEL, {"steps": "2"})
    wait_for(kill.moment, lambda: not bench.trap.exists())
    began = time.monotonic()
    kill.moment += f", {'old' if bench.look(kill) == before else 'new'} in use"
    wait_for("the end of the job", lambda: not bench.jobs.running())
    progress = bench.jobs.wait()
    kill.seconds = time.monotonic() - began
    made = {version.version for version in versions(MODEL)} - there
    if progress.phase != "done" or len(made) != 1 or bench.look(kill) != min(made):
        kill.wrong.append(f"{progress.phase}, {progress.message}; made {sorted(made)}")
    return kill


def _report(name: str, kills: list[Kill]) -> None:
    seconds = [kill.seconds for kill in kills]
    told = f"{name}: {len(seconds)} kills, {sum(bool(kill.wrong) for kill in kills)} wrong"
    if seconds:
        told += f", goes on after {statistics.median(seconds):.1f} s, at most {max(seconds):.1f} s"
    print(told)
    moments = [kill.moment for kill in kills if kill.moment]
    for moment in sorted(set(moments)):
        print(f"  {moment}, {moments.count(moment)} times")
    for kill in kills:
        for sentence in kill.wrong:
            print(f"  wrong, kill {kill.number}: {sentence}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anywhere", type=int, default=50)
    parser.add_argument("--switch", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, default=Path("kills.jsonl"))
    asked = parser.parse_args()
    rows = Rows(asked.rows)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WSSEG_HOME"] = folder
        bench = Bench(Path(folder))
        try:
            if anywhere := rows.missing("anywhere", asked.anywhere):
                kill_anywhere(bench, anywhere, asked.seed, rows)
            for number in rows.missing("switch", asked.switch):
                rows.add(kill_at_the_switch(bench, number))
            left = [str(path) for path in home().rglob(".*")]
        finally:
            bench.jobs.cancel()
            bench.jobs.wait()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    _report("anywhere", [kill for kill in rows.kills if kill.part == "anywhere"])
    _report("at the switch", [kill for kill in rows.kills if kill.part == "switch"])
    print(f"half-written files left: {len(left)}")
    sys.exit(1 if any(kill.wrong for kill in rows.kills) else 0)


if __name__ == "__main__":
    main()
