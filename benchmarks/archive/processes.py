"""Processes that are begun again when they end, as systemd does, and hosts that are network namespaces."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


class Unit:
    """A command that is begun again whenever it ends.

    Args:
        name: of its log.
        command: itself.
        folder: of the log.
        environment: beside this process's.
        ends: it may end well, and is then not begun again.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] = {},
        ends: bool = False,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = command
        self._ends = ends
        self._environment = {**os.environ, "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}", **environment}
        self._process = self._begun()

    def _begun(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )

    def tend(self) -> bool:
        """Begin it again if it has ended; whether it has ended well."""
        code = self._process.poll()
        if code == 0 and self._ends:
            return True
        if code is not None:
            self._process = self._begun()
        return False

    def kill(self) -> None:
        """With all its children, as a power cut does."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._process.wait()


def dask(kind: str, *arguments: str, within: Sequence[str] = ()) -> list[str]:
    """The command of a scheduler or a worker."""
    told = ("--no-dashboard", "--dashboard-address", "localhost:0")
    return [*within, sys.executable, "-m", "dask", kind, *told, *arguments]


def worker(scheduler: str, *arguments: str, within: Sequence[str] = ()) -> list[str]:
    """The command of a worker of two threads."""
    return dask("worker", scheduler, "--nthreads", "2", "--nworkers", "1", *arguments, within=within)


@dataclass(frozen=True)
class Host:
    """A namespace with one device, bridged to this machine.

    Attributes:
        name: of it.
        address: its own.
    """

    name: str
    address: str

    @property
    def within(self) -> tuple[str, ...]:
        """Words before a command that runs on it."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Take its cable out."""
        ip("link", "set", f"{self.name}-0", "down")

    def mend(self) -> None:
        """Put it in again."""
        ip("link", "set", f"{self.name}-0", "up")


@contextmanager
def network(name: str, net: str, count: int) -> Iterator[tuple[str, list[Host]]]:
    """A bridge: this machine's address on it, and hosts; needs root. All is taken away at the end.

    Args:
        name: of the bridge, with which those of namespaces and devices begin.
        net: its first three numbers, as "10.213.7".
        count: of hosts.
    """
    bridge, own = name, f"{net}.1"
    hosts = [Host(f"{name}{number}", f"{net}.{number + 10}") for number in range(count)]
    _remove(bridge, hosts)
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", f"{own}/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for host in hosts:
            near, far = f"{host.name}-0", f"{host.name}-1"
            ip("netns", "add", host.name)
            ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", host.name)
            ip("link", "set", near, "master", bridge, "up")
            ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", far)
            ip("-n", host.name, "link", "set", far, "up")
            ip("-n", host.name, "link", "set", "lo", "up")
        yield own, hosts
    finally:
        _remove(bridge, hosts)


def ip(*words: str) -> None:
    """Call ``ip``."""
    subprocess.run(("ip", *words), check=True)


def _remove(bridge: str, hosts: Sequence[Host]) -> None:
    for host in hosts:
        subprocess.run(("ip", "netns", "del", host.name), stderr=subprocess.DEVNULL, check=False)
        subprocess.run(("ip", "link", "del", f"{host.name}-0"), stderr=subprocess.DEVNULL, check=False)
    subprocess.run(("ip", "link", "del", bridge), stderr=subprocess.DEVNULL, check=False)
