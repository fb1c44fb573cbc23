"""Workers on Dask distributed: this machine's own, or any cluster by its scheduler's address."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, Security, Worker, WorkerPlugin, get_worker
from distributed.system import MEMORY_LIMIT

from wsseg.archive.work import Claim, Outcome
from wsseg.errors import UnavailableError, WssegError
from wsseg.files import make_folder
from wsseg.models.package import ModelPackage

THREADS = 2
"""Of a worker: while one series is computed, another is fetched or sent."""

GPU = "GPU"
"""The resource by which workers with a GPU are known; a task takes its thread's share of it."""

_WORKER_BYTES = 4 << 30
"""Memory that a worker is given at least."""

_EVENTS = 1000
"""That a scheduler of ours remembers; by itself 100,000, which are 50 MB."""

_TRIM_THRESHOLD = "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"
"""Of the environment in which Dask starts workers; None leaves it out. Under Dask's own value memory is given back at
once: a network asks for it thousands of times a scan, and a third of a worker's time went into that."""

_PATIENCE = "30s"
"""Until a scheduler has answered."""

Handler = Callable[[Claim], Outcome]
"""What a worker does with a series."""


@dataclass(frozen=True)
class Place:
    """Where a handler is made.

    Attributes:
        folder: of the worker, its own.
        device: to compute on; None for what there is.
    """

    folder: Path
    device: str | None


class HandlerPlugin(WorkerPlugin):
    """Makes each worker's handler once, when it joins, so that a model is loaded once a worker.

    Args:
        name: of the campaign.
        make: called on the worker.
    """

    def __init__(self, name: str, make: Callable[[Place], Handler]) -> None:
        self.name = name
        self._make = make

    async def setup(self, worker: Worker) -> None:
        """Called by Dask; the worker answers meanwhile."""
        place = Place(Path(worker.local_directory), _device_of(worker))
        self._made: Future[Handler] = ThreadPoolExecutor(1).submit(self._make, place)
        await asyncio.wrap_future(self._made)

    def handler(self) -> Handler:
        """What was made, as soon as it is there: tasks reach a worker that has just joined."""
        return self._made.result()


def handle(name: str, claims: Sequence[Claim]) -> list[Outcome]:
    """The task: give series to this worker's handler, one after the other."""
    plugin = cast(HandlerPlugin, get_worker().plugins[name])
    handler = plugin.handler()
    return [handler(claim) for claim in claims]


@dataclass(frozen=True)
class ModelHandler:
    """Makes a handler that segments; the package travels with it, so a worker needs wsseg alone.

    Attributes:
        name: of the model.
        files: of its package, by their paths in it.
        archive: its URL.
        destination: address of where results go.
    """

    name: str
    files: dict[str, bytes]
    archive: str
    destination: str

    @classmethod
    def of(cls, package: ModelPackage, archive: str, destination: str) -> ModelHandler:
        """With everything in a package's folder."""
        paths = [path for path in sorted(package.folder.rglob("*")) if path.is_file()]
        files = {path.relative_to(package.folder).as_posix(): path.read_bytes() for path in paths}
        return cls(package.name, files, archive, destination)

    def __call__(self, place: Place) -> Handler:
        """The handler, on a worker; torch and DICOM's libraries are imported there alone."""
        from wsseg.archive.destination import open_destination
        from wsseg.archive.segment import SeriesSegmenter
        from wsseg.archive.web.client import Pacs
        from wsseg.inference.segmenter import Segmenter

        folder = place.folder / "model" / self.name
        for name, content in self.files.items():
            make_folder((folder / name).parent)
            (folder / name).write_bytes(content)
        return SeriesSegmenter(Segmenter(folder, place.device), Pacs(self.archive), open_destination(self.destination))


@contextmanager
def connected(scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """A client of a scheduler, or of workers of this machine that end with it.

    Workers of this machine speak TLS under a key that only they have: whoever
    may speak to a worker may run what he likes there.

    Args:
        scheduler: its address, tls://host:port; tcp:// on this machine only.
        workers: how many; by default one a GPU, else one a core as far as memory goes.

    Raises:
        WssegError: an address that others could listen to.
        UnavailableError: there is no such scheduler.
    """
    if scheduler is not None:
        _check_address(scheduler)
        try:
            client = Client(scheduler, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UnavailableError(f"{scheduler}: no scheduler answers there ({error})") from error
        with client:
            yield client
        return
    dask.config.set({"distributed.admin.low-level-log-length": _EVENTS, _TRIM_THRESHOLD: None})
    gpus = _gpus()
    options = {"resources": {GPU: 1}} if gpus else {}
    security = Security.temporary()
    count = workers or gpus or max(1, min(CPU_COUNT, MEMORY_LIMIT // _WORKER_BYTES))
    with (
        LocalCluster(
            n_workers=count,
            threads_per_worker=THREADS,
            security=security,
            protocol="tls",
            dashboard_address=None,
            worker_dashboard_address=None,
            **options,
        ) as cluster,
        Client(cluster, security=security, set_as_default=False) as client,
    ):
        yield client


def needed(client: Client) -> dict[str, float]:
    """The resources that a task takes: a share of a GPU where workers have some."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return {GPU: 1 / THREADS} if any(GPU in worker["resources"] for worker in workers) else {}


def _check_address(scheduler: str) -> None:
    address = urlsplit(scheduler)
    if address.scheme not in ("tcp", "tls") or not address.hostname or address.port is None:
        raise WssegError(f"--scheduler {scheduler}: is no address like tls://host:8786")
    if address.scheme == "tcp" and not _is_here(address.hostname):
        raise WssegError(
            f"--scheduler {scheduler}: whoever can reach such a scheduler can run anything on its workers and read "
            "every scan, use tls:// with certificates"
        )


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _gpus() -> int:
    """How many this machine has for us, without torch, which would take half a gigabyte beside the workers."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([name for name in chosen.split(",") if name.strip()])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _device_of(worker: Worker) -> str | None:
    """Of several GPUs that a worker could use, those of one machine take one each."""
    if GPU not in worker.state.total_resources:
        return None
    return f"cuda:{worker.name % max(_gpus(), 1)}" if isinstance(worker.name, int) else "cuda"
