"""What `wsseg archive` costs beyond the model: very many series, the model replaced by a constant.

python benchmarks/archive/bookkeeping.py --series 1000000 --run DIR

An archive that answers by formula, in a process of its own, and two workers of
Dask that neither fetch nor send. All series are planned, the run is stopped
half-way as if it had been killed, begins again on the database that it left,
and ends. Prints series a second, and the memory of the process that plans and
hands out (the aim: 300 a second or more, 600 MB or less, and as much at the end
as at the beginning). Stopped itself and called again with the same DIR it goes
on where it was; `looks.csv` there has what was seen every ten seconds.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import time
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
from distributed import Client

from wsseg.archive.cluster import Handler, HandlerPlugin, Place, connected
from wsseg.archive.listing import Listing
from wsseg.archive.run import Run, RunProgress
from wsseg.archive.web.client import Pacs
from wsseg.archive.work import Campaign, Counts, Outcome, Work
from wsseg.labels.database.connection import Database

ROOT = "1.2.826.0.1.3680043.10.9999"
"""Of the UIDs of series that are nowhere."""

A_DAY = 500
"""Series."""


def series(number: int) -> dict[str, Any]:
    """DICOM JSON of a series."""
    day = (date(2015, 1, 1) + timedelta(days=number // A_DAY)).strftime("%Y%m%d")
    told = {
        "0020000D": ("UI", f"{ROOT}.1.{number // 4}"),
        "0020000E": ("UI", f"{ROOT}.2.{number}"),
        "00080060": ("CS", "MR"),
        "00080020": ("DA", day),
        "00201209": ("IS", 100),
    }
    return {tag: {"vr": kind, "Value": [value]} for tag, (kind, value) in told.items()}


def serve(count: int, told: Connection) -> None:
    """Answer searches for series, in a process of its own, and tell the port."""

    class Archive(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            start, limit = int(query.get("offset", ["0"])[0]), int(query["limit"][0])
            body = json.dumps([series(number) for number in range(start, min(start + limit, count))]).encode()
            self.send_response(200)
            self.send_header("content-type", "application/dicom+json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    http = HTTPServer(("127.0.0.1", 0), Archive)
    told.send(http.server_port)
    http.serve_forever()


def constant(place: Place) -> Handler:
    """In place of a model."""
    return lambda claim: Outcome(claim.id, 0.0, {"tumor": float(claim.id % 100)}, (claim.id % 97) / 97)


class HalfWayError(Exception):
    """The run is stopped here."""


EVERY = 10.0
"""Seconds between two looks."""


@dataclass
class Look:
    """What was seen at a moment.

    Attributes:
        part: number of the run that has gone on since it was begun.
        seconds: since its first series was done.
        done: series, of all parts.
        megabytes: that this process takes.
    """

    part: int
    seconds: float
    done: int
    megabytes: float


class Looks:
    """All of them, on disk."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.all: list[Look] = []
        if file.exists():
            with file.open(newline="", encoding="utf-8") as opened:
                self.all = [Look(int(p), float(s), int(d), float(m)) for p, s, d, m in csv.reader(opened)]

    def add(self, look: Look) -> None:
        """Write one down and tell it."""
        self.all.append(look)
        with self._file.open("a", newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerow(astuple(look))
        print(f"{look.done:>9} done after {look.seconds:7.0f} s, {look.megabytes:6.0f} MB", flush=True)

    def tell(self) -> None:
        """Series a second of each part, and memory."""
        for part in sorted({look.part for look in self.all}):
            own = [look for look in self.all if look.part == part]
            done, seconds = own[-1].done - own[0].done, own[-1].seconds - own[0].seconds
            print(
                f"part {part}: {done} series, {done / max(seconds, 1e-9):.0f} a second, "
                f"{own[0].megabytes:.0f} MB at first, {max(look.megabytes for look in own):.0f} MB at most, "
                f"{own[-1].megabytes:.0f} MB at last"
            )


class Watch:
    """One part of the run.

    Args:
        looks: are added to.
        until: series at which it is stopped.
    """

    def __init__(self, looks: Looks, until: float) -> None:
        self._looks = looks
        self._until = until
        self._part = max((look.part for look in looks.all), default=0) + 1
        self._began: float | None = None
        self._next = 0.0

    def __call__(self, progress: RunProgress) -> None:
        """Look, and stop the run if it is time."""
        now, done = time.monotonic(), progress.counts.done
        if self._began is None and done:
            self._began = now
        if self._began is not None and (now >= self._next or not progress.counts.open or done >= self._until):
            self._next = now + EVERY
            self._looks.add(Look(self._part, now - self._began, done, psutil.Process().memory_info().rss / 1e6))
        if done >= self._until:
            raise HalfWayError


def part(work: Work, url: str, client: Client, watch: Watch) -> None:
    """Work until the watch stops it, or to the end."""
    pacs = Pacs(url)
    with suppress(HalfWayError):
        run = Run(work, Listing(work, pacs, {}), (pacs,), False, watch)
        run.go(client, HandlerPlugin("constant", constant))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--run", type=Path, required=True, help="folder that it goes on in")
    asked = parser.parse_args()
    asked.run.mkdir(parents=True, exist_ok=True)
    here, there = multiprocessing.Pipe()
    archive = multiprocessing.Process(target=serve, args=(asked.series, there), daemon=True)
    archive.start()
    url = f"http://127.0.0.1:{here.recv()}/dicom-web"
    looks = Looks(asked.run / "looks.csv")
    database = Database(f"sqlite:///{asked.run / 'labels.sqlite3'}")
    work = Work(database, Campaign("http://formula", "constant", "1", "http://formula"))
    if work.counts().total < asked.series:
        began = time.monotonic()
        planned = Listing(work, Pacs(url), {}).read()
        seconds = time.monotonic() - began
        print(f"planned {planned} in {seconds:.0f} s, {planned / seconds:.0f} a second", flush=True)
    with connected(None, 2) as client:
        if work.counts().done < asked.series / 2:
            part(work, url, client, Watch(looks, asked.series / 2))
            print("stopped and begun again", flush=True)
        part(work, url, client, Watch(looks, float("inf")))
    counts = work.counts()
    assert counts == Counts(done=asked.series), counts
    print(f"all {asked.series} done once")
    looks.tell()
    database.close()


if __name__ == "__main__":
    main()
