"""What `wsseg archive` costs beyond the model: very many series, the model replaced by a constant.

python benchmarks/archive.py --series 1000000

An archive that answers by formula, in a process of its own, and two workers of
Dask that neither fetch nor send. All series are planned, the run is stopped
half-way as if it had been killed, begins again on the database that it left,
and ends. Prints series a second, and the memory of the process that plans and
hands out (the aim: 300 a second or more, 600 MB or less, and as much at the end
as at the beginning).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
from distributed import Client

from wsseg.archive.client import Pacs
from wsseg.archive.cluster import Handler, HandlerPlugin, Place, connected
from wsseg.archive.listing import Listing
from wsseg.archive.run import Run, RunProgress
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


@dataclass
class Watch:
    """What one part of the run took.

    Attributes:
        until: series at which it is stopped.
        rates: series a second, between two looks.
        megabytes: of this process, at each look.
    """

    until: float
    rates: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    _before: tuple[float, int] | None = None

    def __call__(self, progress: RunProgress) -> None:
        """Look, and stop the run if it is time."""
        now, done = time.monotonic(), progress.counts.done
        self.megabytes.append(psutil.Process().memory_info().rss / 1e6)
        if self._before and now - self._before[0] > 10:
            self.rates.append((done - self._before[1]) / (now - self._before[0]))
            print(f"{done:>9} done, {self.rates[-1]:6.0f} a second, {self.megabytes[-1]:6.0f} MB", flush=True)
            self._before = now, done
        self._before = self._before or (now, done)
        if done >= self.until:
            raise HalfWayError


def part(work: Work, url: str, client: Client, until: float) -> tuple[Watch, Counts, float]:
    """Work until so many are done: what was seen, the counts, the seconds."""
    pacs, watch, began = Pacs(url), Watch(until), time.monotonic()
    try:
        counts = Run(work, Listing(work, pacs, {}), (pacs,), False, watch).go(
            client, HandlerPlugin("constant", constant)
        )
    except HalfWayError:
        counts = work.counts()
    return watch, counts, time.monotonic() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1_000_000)
    asked = parser.parse_args()
    here, there = multiprocessing.Pipe()
    archive = multiprocessing.Process(target=serve, args=(asked.series, there), daemon=True)
    archive.start()
    url = f"http://127.0.0.1:{here.recv()}/dicom-web"
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'labels.sqlite3'}")
        campaign = Campaign(url, "constant", "1", url)
        began = time.monotonic()
        Listing(Work(database, campaign), Pacs(url), {}).read()
        planned = time.monotonic() - began
        print(f"planned {asked.series} in {planned:.0f} s, {asked.series / planned:.0f} a second", flush=True)
        with connected(None, 2) as client:
            first, before, _ = part(Work(database, campaign), url, client, asked.series / 2)
            print("stopped and begun again", flush=True)
            second, counts, seconds = part(Work(database, campaign), url, client, float("inf"))
        assert counts == Counts(done=asked.series), counts
        seen = [*first.megabytes, *second.megabytes]
        print(
            f"all {asked.series} done once; the second part {(counts.done - before.done) / seconds:.0f} a second; "
            f"memory {seen[0]:.0f} MB at first, {max(seen):.0f} MB at most, {seen[-1]:.0f} MB at last"
        )
        database.close()


if __name__ == "__main__":
    main()
