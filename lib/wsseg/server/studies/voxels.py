"""The scans that were looked at last, kept in memory, so that all that a page asks of one reads its file once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from wsseg.images.formats.table import read_volume
from wsseg.images.scan import check_scan
from wsseg.images.volume import Volume

MOST_BYTES = 1 << 30
"""Of voxels that are kept; the scan that was read last always is."""

_File = tuple[Path, int, int]
"""A file and its state: time and size."""


class Voxels:
    """Reads scans, each once however many ask for it at a time."""

    def __init__(self) -> None:
        self._held: OrderedDict[_File, Volume] = OrderedDict()
        self._sound: set[_File] = set()
        self._reading: dict[_File, threading.Lock] = {}
        self._lock = threading.Lock()

    def read(self, path: Path) -> Volume:
        """:func:`wsseg.images.scan.read_scan`; nobody may change the voxels.

        Raises:
            WssegError: unreadable, or nothing that can be segmented.
        """
        key, volume = state(path), self.stored(path)
        if key not in self._sound:
            check_scan(volume, path)
            self._sound.add(key)
        return volume

    def stored(self, path: Path) -> Volume:
        """:func:`read_volume`, whatever the voxels are.

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
                volume = read_volume(path)
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
                self._sound.discard(self._held.popitem(last=False)[0])


def state(path: Path) -> _File:
    """A file as it is now: another one once it has changed."""
    stat = path.stat()
    return path, stat.st_mtime_ns, stat.st_size
