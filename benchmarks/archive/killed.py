"""An archive run in which something is killed thirty times: is every series segmented, and each once? Needs root.

python benchmarks/archive/killed.py --run DIR [--series 300] [--kills 30] [--seed 0]

A real Orthanc on a host of its own (a network namespace); a Dask scheduler, two
workers, a client and, where it is installed, PostgreSQL on this machine, each
begun again when it ends, as systemd does. The model is a constant; series
are fetched, SEG and SR written and sent as with a real one. Kills (SIGKILL with
all children) are spread evenly over the series, their victims shuffled: a
worker, the scheduler, the client, the database server, Orthanc, or the network
between it and all others for up to fifteen seconds. Stopped itself and called
again with the same DIR it goes on where it was.

Exits with 1 where a series has not exactly one SEG and one SR.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pacs import Orthanc, head, series
from processes import HERE, Host, Unit, dask, network, worker

from wsseg.archive.overview import Overview
from wsseg.archive.work import Counts
from wsseg.errors import UnavailableError
from wsseg.labels.database.connection import Database

NET = "10.213.8"
SCHEDULER, PACS, POSTGRES = 18787, 18043, 54320

VERSION = "killed"

LONGEST_CUT = 15.0
"""Seconds."""

PATIENCE = 7200.0
"""Seconds for all of it."""


def postgres(folder: Path) -> Unit | None:
    """A database server, made at first; None where none is installed."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin/postgres"), default=None)
    if programs is None:
        return None
    data, user = folder / "postgres", ("runuser", "-u", "postgres", "--")  # it will not be root
    begin = (*user, str(programs), "-D", str(data), "-p", str(POSTGRES), "-k", str(data))
    if not data.exists():
        data.mkdir()
        shutil.chown(data, "postgres")
        initdb = (*user, str(programs.with_name("initdb")), "-D", str(data), "-A", "trust")
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL)
    return Unit("postgres", (*begin, "-c", "listen_addresses=127.0.0.1"), folder)


class Bench:
    """All that can be killed.

    Args:
        own: address of this machine.
        far: where Orthanc is.
        folder: of the run.
    """

    def __init__(self, own: str, far: Host, folder: Path) -> None:
        self._far = far
        self.pacs = Orthanc(folder / "orthanc", far.address, PACS, far.within)
        self.pacs.start()
        self._database = postgres(folder)
        self.labels = f"sqlite:///{folder / 'labels.sqlite3'}"
        if self._database:
            self.labels = f"postgresql://postgres@127.0.0.1:{POSTGRES}/postgres"
        scheduler = "tcp://127.0.0.1:" + str(SCHEDULER)
        listen = ("--host", "127.0.0.1", "--port", str(SCHEDULER))
        self._scheduler = Unit("scheduler", dask("scheduler", *listen), folder)
        command = worker(scheduler, "--host", "127.0.0.1", "--memory-limit", "3GB")
        self._workers = [Unit(f"worker{number}", command, folder) for number in range(2)]
        asked = ["--archive", self.pacs.url, "--scheduler", scheduler, "--labels", self.labels, "--version", VERSION]
        self._client = Unit(
            "client", [sys.executable, str(HERE / "client.py"), *asked, "--seconds", "0.5"], folder, ends=True
        )
        self._cut_until = 0.0

    def victims(self, chance: random.Random) -> dict[str, Callable[[], None]]:
        """What can be killed, and how."""
        found = {
            "worker": chance.choice(self._workers).kill,
            "scheduler": self._scheduler.kill,
            "client": self._client.kill,
            "Orthanc": self._restart_pacs,
            "network": lambda: self._cut(chance.uniform(1, LONGEST_CUT)),
        }
        return found | ({"database": self._database.kill} if self._database else {})

    def tend(self) -> bool:
        """Begin again what has ended; whether the client has reached the end."""
        if self._cut_until and time.monotonic() > self._cut_until:
            self._far.mend()
            self._cut_until = 0.0
        for unit in (self._database, self._scheduler, *self._workers):
            if unit:
                unit.tend()
        return self._client.tend()

    def end(self) -> None:
        """All of it, Orthanc last."""
        self._far.mend()
        for unit in (self._client, *self._workers, self._scheduler, self._database):
            if unit:
                unit.kill()
        self.pacs.stop()

    def _restart_pacs(self) -> None:
        self.pacs.kill()
        time.sleep(1.0)
        self.pacs.start()

    def _cut(self, seconds: float) -> None:
        self._far.cut()
        self._cut_until = time.monotonic() + seconds


def counts_of(labels: str) -> Counts:
    """How far the campaign is; nothing where the database is away."""
    try:
        database = Database(labels)
        try:
            standings = Overview(database).standings()
            return standings[0].counts if standings else Counts()
        finally:
            database.close()
    except UnavailableError:
        return Counts()


def kill_all_along(bench: Bench, asked: argparse.Namespace, made: list[str]) -> None:
    """Kill until so many kills were made and the client has ended well."""
    chance, end = random.Random(asked.seed + len(made)), time.monotonic() + PATIENCE
    while not bench.tend():
        if time.monotonic() > end:
            print(f"not within {PATIENCE:.0f} s")
            return
        time.sleep(chance.uniform(0.2, 1.5))
        done = counts_of(bench.labels).done
        if len(made) < asked.kills and done >= (len(made) + 0.5) * asked.series / asked.kills:
            victims = bench.victims(chance)
            least = min(made.count(name) for name in victims)
            name = chance.choice([name for name in victims if made.count(name) == least])
            print(f"kill {len(made) + 1}: {name}, {done} done", flush=True)
            victims[name]()
            made.append(name)
            with (asked.run / "kills.csv").open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow((name, done))


def main() -> None:
    """Print what was killed, and what the archive holds in the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder that it goes on in")
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was begun is ended
    asked.run = asked.run.resolve()
    asked.run.mkdir(parents=True, exist_ok=True)
    kills = asked.run / "kills.csv"
    made = [name for name, _ in csv.reader(kills.open(newline="", encoding="utf-8"))] if kills.exists() else []
    began = time.monotonic()
    with network("wssegk", NET, 1) as (own, (far,)):
        first = Orthanc(asked.run / "orthanc", far.address, PACS, far.within)
        first.start()
        voxels = head(8, 32)
        for number in range(asked.series):
            first.take(series(number, voxels))
        first.stop()
        bench = Bench(own, far, asked.run)
        try:
            kill_all_along(bench, asked, made)
            counts = counts_of(bench.labels)
            held = {kind: sorted(bench.pacs.objects(kind, VERSION).values()) for kind in ("SEG", "SR")}
        finally:
            bench.end()
    right = all(each == [1] * asked.series for each in held.values()) and counts == Counts(done=asked.series)
    told = ", ".join(f"{name} {count}" for name, count in sorted(Counter(made).items()))
    print(f"{len(made)} kills in {time.monotonic() - began:.0f} s: {told}")
    print(f"{counts}; {', '.join(f'{sum(each)} {kind} in {len(each)} studies' for kind, each in held.items())}")
    print("every series has one SEG and one SR" if right else "WRONG")
    sys.exit(0 if right and len(made) == asked.kills else 1)


if __name__ == "__main__":
    main()
