"""Fifty associations at once into the DICOM node, broken and oversized objects among them.

python benchmarks/archive/associations.py [--associations 50] [--images 20]

The node runs in a process of its own. Of ten callers six send a series of
256 x 256 images, and one each sends images without a UID, breaks off in the
middle of an image, sends noise, and sends an object larger than an image may be.
All begin at the same moment. Exits with 1 where an image that was acknowledged
is not on disk as it was sent, where anything else is, or where the node does
not answer C-ECHO at the end; prints how many images were acknowledged in what
time, and the most memory that the node took.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import socket
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
from pacs import MR, head, series
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, Association
from pynetdicom.sop_class import Verification

from wsseg.server.node.inbox import Inbox
from wsseg.server.node.node import LARGEST, Node
from wsseg.server.node.settings import NodeSettings

CALLER = "MR1"

PATIENCE = 120.0
"""Seconds that a caller waits for an answer, also where the node has hung up."""

SHARES = ("whole",) * 6 + ("without UID", "broken off", "noise", "oversized")
"""What each of ten callers does."""


def node(folder: Path, told: Connection) -> None:
    """Run the node until this process is ended."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = Node(NodeSettings(port=port, callers=CALLER), Inbox(folder, quiet=0.0))
    told.send(made.port)
    threading.Event().wait()


@dataclass
class Sent:
    """What one caller did.

    Attributes:
        kind: of :data:`SHARES`.
        acknowledged: pixels by SOPInstanceUID.
        refused: images that were answered otherwise, or not at all.
    """

    kind: str
    acknowledged: dict[str, bytes]
    refused: int = 0


class Callers:
    """All of them, who begin together.

    Args:
        port: of the node.
        count: of associations.
        images: of each series.
    """

    def __init__(self, port: int, count: int, images: int) -> None:
        self._port = port
        self._voxels = head(images, 256)
        self._oversized = bytes(LARGEST + (1 << 20))
        self._together = threading.Barrier(count)

    def call(self, number: int) -> Sent:
        """What one caller does."""
        sent = Sent(SHARES[number % len(SHARES)], {})
        images = [dcmread(BytesIO(file)) for file in series(number, self._voxels)]
        if sent.kind == "without UID":
            for image in images:
                image.StudyInstanceUID = ""
        if sent.kind == "oversized":
            images = images[:1]
            images[0].PixelData = self._oversized
        self._together.wait()
        if sent.kind == "noise":
            with socket.create_connection(("127.0.0.1", self._port)) as raw:
                raw.sendall(random.Random(number).randbytes(100_000))
            return sent
        association = self.associate()
        if not association.is_established:
            sent.refused = len(images)
            return sent
        for index, image in enumerate(images):
            if sent.kind == "broken off" and index == len(images) // 2:
                threading.Timer(0.005, self._hang_up, (association,)).start()
            try:
                status = association.send_c_store(image).get("Status")
            except (RuntimeError, OSError, AttributeError):  # the association is no more
                status = None
            if status == 0:
                sent.acknowledged[str(image.SOPInstanceUID)] = image.PixelData
            else:
                sent.refused += 1
        if association.is_established:
            association.release()
        return sent

    def associate(self) -> Association:
        """As a scanner does."""
        entity = AE(CALLER)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE
        entity.add_requested_context(Verification)
        entity.add_requested_context(MR, ExplicitVRLittleEndian)
        return entity.associate("127.0.0.1", self._port, ae_title="WSSEG")

    @staticmethod
    def _hang_up(association: Association) -> None:
        wire = association.dul.socket
        if wire is not None and wire.socket is not None:
            wire.socket.shutdown(socket.SHUT_RDWR)


def on_disk(folder: Path) -> dict[str, Dataset]:
    """Images that the node holds, by SOPInstanceUID."""
    found = [dcmread(file) for file in (folder / "incoming").rglob("[!.]*.dcm")]
    return {str(image.SOPInstanceUID): image for image in found}


def watched(process: multiprocessing.Process, ended: threading.Event) -> float:
    """The most memory, in MB, that it takes until told that all is over."""
    seen, most = psutil.Process(process.pid), 0.0
    while not ended.wait(0.1):
        most = max(most, seen.memory_info().rss / 1e6)
    return most


def main() -> None:
    """Print what became of what was sent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--associations", type=int, default=50)
    parser.add_argument("--images", type=int, default=20)
    asked = parser.parse_args()
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    here, there = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(asked.associations + 1) as pool:
        process = multiprocessing.Process(target=node, args=(Path(name), there), daemon=True)
        process.start()
        callers = Callers(here.recv(), asked.associations, asked.images)
        ended = threading.Event()
        memory = pool.submit(watched, process, ended)
        began = time.monotonic()
        sent = list(pool.map(callers.call, range(asked.associations)))
        seconds = time.monotonic() - began
        echo = callers.associate()
        up = echo.is_established and echo.send_c_echo().get("Status") == 0
        echo.release()
        ended.set()
        held = on_disk(Path(name))
        process.kill()
    acknowledged = {uid: pixels for each in sent for uid, pixels in each.acknowledged.items()}
    lost = [uid for uid, pixels in acknowledged.items() if uid not in held or held[uid].PixelData != pixels]
    broken = [each for each in sent if each.kind in ("without UID", "noise") and each.acknowledged]
    whole = [each for each in sent if each.kind == "whole"]
    refused = sum(each.refused for each in whole)
    # An image may be on disk whose answer did not reach a caller that hung up.
    more = len(set(held) - set(acknowledged)) - sum(each.kind == "broken off" for each in sent)
    for kind in dict.fromkeys(SHARES):
        own = [each for each in sent if each.kind == kind]
        print(f"{kind}: {len(own)} callers, {sum(len(each.acknowledged) for each in own)} images acknowledged")
    print(f"{len(sent)} associations in {seconds:.1f} s, memory of the node at most {memory.result():.0f} MB")
    wrong = (len(lost), len(broken), refused, max(0, more), int(not up))
    print(
        "{} acknowledged and lost, {} broken and taken, {} whole and refused, {} more on disk, {} down".format(*wrong)
    )
    sys.exit(1 if any(wrong) else 0)


if __name__ == "__main__":
    main()
