"""Two hosts against one, each a network namespace, the model replaced by sleeping as long as one takes. Needs root.

python benchmarks/archive/hosts.py --run DIR [--series 60] [--seconds 5]

A real Orthanc and a Dask scheduler on this machine, workers on hosts that reach
both over a bridge, everything between nodes under TLS by an authority made as
docs/archive.md says. The same series are segmented three times, each time as
another version: by one host, by two, and by two of which one loses its cable
half-way for as long as CUT and gets it back. Prints series a second, from the first one done to
the last, and whether every series has exactly one SEG and one SR.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from pacs import Orthanc, head, series
from processes import HERE, Host, Unit, dask, network, worker

from wsseg.archive import schema
from wsseg.archive.overview import Overview
from wsseg.labels.database.connection import Database

NET = "10.213.7"
SCHEDULER, PACS = 18786, 18042

CUT = 20.0
"""Seconds without a cable."""

PATIENCE = 1800.0
"""Seconds that a client may take."""


def authority(folder: Path) -> dict[str, str]:
    """Certificates by the commands of the documentation; how Dask is told of them."""
    for command in (
        "req -x509 -newkey rsa:3072 -nodes -days 365 -subj /CN=wsseg-cluster -keyout ca.key -out ca.pem",
        "req -newkey rsa:3072 -nodes -subj /CN=node -keyout node.key -out node.csr",
        "x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -out node.pem",
    ):
        subprocess.run(("openssl", *command.split()), cwd=folder, check=True, capture_output=True)
    told = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    told[f"{tls}CA_FILE"] = str(folder / "ca.pem")
    for side in ("SCHEDULER", "WORKER", "CLIENT"):
        told[f"{tls}{side}__CERT"], told[f"{tls}{side}__KEY"] = str(folder / "node.pem"), str(folder / "node.key")
    return told


class Cluster:
    """A scheduler on this machine, and a worker on each of some hosts."""

    def __init__(self, own: str, hosts: Sequence[Host], folder: Path, told: dict[str, str]) -> None:
        self.address = f"tls://{own}:{SCHEDULER}"
        begin = dask("scheduler", "--protocol", "tls", "--host", own, "--port", str(SCHEDULER))
        self._units = [Unit("scheduler", begin, folder, told)]
        for host in hosts:
            command = worker(self.address, "--host", host.address, "--memory-limit", "3GB", within=host.within)
            self._units.append(Unit(host.name, command, folder, told))

    def tend(self) -> None:
        """Begin again what has ended."""
        for unit in self._units:
            unit.tend()

    def end(self) -> None:
        """All of it."""
        for unit in self._units:
            unit.kill()


def run(version: str, cluster: Cluster, url: str, asked: argparse.Namespace, cut: Host | None) -> tuple[float, int]:
    """Segment everything as a version: seconds from the first series done to the last, and those done within them."""
    labels = f"sqlite:///{asked.run / 'labels.sqlite3'}"
    command = [sys.executable, str(HERE / "client.py"), "--archive", url, "--scheduler", cluster.address]
    command += ["--labels", labels, "--version", version, "--seconds", str(asked.seconds)]
    client = Unit(f"client-{version}", command, asked.run, asked.told, ends=True)
    database = Database(labels)
    overview, end, mended = Overview(database), time.monotonic() + PATIENCE, float("inf")
    while not client.tend():
        if time.monotonic() > end:
            client.kill()
            sys.exit(f"{version}: not within {PATIENCE:.0f} s")
        cluster.tend()
        done = next((each.counts.done for each in overview.standings() if each.campaign.version == version), 0)
        if cut is not None and mended == float("inf") and done >= asked.series / 2:
            cut.cut()
            mended = time.monotonic() + CUT
        if cut is not None and time.monotonic() > mended:
            cut.mend()
            cut = None
        time.sleep(0.2)
    ends = sa.select(schema.series.c.finished).join(schema.campaigns).where(schema.campaigns.c.version == version)
    with database.reading() as connection:
        finished = sorted(connection.scalars(ends))
    database.close()
    return finished[-1] - finished[0], sum(each > finished[0] for each in finished)


def main() -> None:
    """Print the three runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder; emptied of nothing, so take a new one")
    parser.add_argument("--series", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was begun is ended
    asked.run = asked.run.resolve()
    asked.run.mkdir(parents=True, exist_ok=True)
    asked.told = authority(asked.run)
    wrong = 0
    with network("wssegh", NET, 2) as (own, hosts):
        pacs = Orthanc(asked.run / "orthanc", own, PACS)
        pacs.start()
        try:
            voxels, paces = head(8, 32), {}
            for number in range(asked.series):
                pacs.take(series(number, voxels))
            for version, used, cut in (("one", 1, None), ("two", 2, None), ("cut", 2, hosts[1])):
                cluster = Cluster(own, hosts[:used], asked.run, asked.told)
                try:
                    seconds, count = run(version, cluster, pacs.url, asked, cut)
                finally:
                    cluster.end()
                paces[version] = count / seconds
                whole = all(
                    sorted(pacs.objects(kind, version).values()) == [1] * asked.series for kind in ("SEG", "SR")
                )
                wrong += not whole
                print(
                    f"{version}: {count} series in {seconds:.1f} s, {paces[version]:.3f} a second, "
                    f"{'each one SEG and one SR' if whole else 'WRONG: not each one SEG and one SR'}",
                    flush=True,
                )
            print(f"two hosts against one: {paces['two'] / paces['one']:.2f} times (the aim: 1.9)")
        finally:
            pacs.stop()
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
