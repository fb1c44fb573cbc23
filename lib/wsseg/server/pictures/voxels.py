"""The scans that were looked at last, kept in memory, so that what a page asks of one reads its file once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from wsseg.images.scan import read_scan
from wsseg.images.volume import Volume

MOST_BYTES = 1 << 30
"""Of voxels that are kept; the scan that was read last always is."""

_File = tuple[Path, int, int]
"""A file and its state: time and size."""


class Voxels:
    """Reads scans, each once however many ask for it at a time."""

    def __init__(self) -> None:
        self._held: OrderedDict[_File, Volume] = OrderedDict()
        self._reading: dict[_File, threading.Lock] = {}
        self._lock = threading.Lock()

    def read(self, path: Path) -> Volume:
        """:func:`read_scan`; nobody may change the voxels.

        Raises:
            WssegError: unreadable.
        """
        key = state(path)
        with self._lock:
            reading = self._reading.setdefault(key, threading.Lock())
        with reading:
            with self._lock:
                if key in self._held:
                    self._held.move_to_end(key)
                    return self._held[key]
            try:
                volume = read_scan(path)
                volume.voxels.flags.writeable = False
                self._keep(key, volume)
                return volume
            finally:
                with self._lock:
                    self._reading.pop(key, None)

    def holds(self, path: Path) -> bool:
        """Whether a scan is in memory already."""
        with self._lock:
            return state(path) in self._held

    def _keep(self, key: _File, volume: Volume) -> None:
        with self._lock:
            self._held[key] = volume
            while len(self._held) > 1 and sum(each.voxels.nbytes for each in self._held.values()) > MOST_BYTES:
                self._held.popitem(last=False)


def state(path: Path) -> _File:
    """A file as it is now: another one once it has changed."""
    stat = path.stat()
    return path, stat.st_mtime_ns, stat.st_size
