"""The node, its inbox and what forwards it, put together as the environment says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsseg.archive.destination import address_of, open_destination
from wsseg.files import home
from wsseg.server.compute import Compute
from wsseg.server.node.forward import Forwarder
from wsseg.server.node.inbox import Inbox
from wsseg.server.node.node import Node
from wsseg.server.node.rules import Rules
from wsseg.server.node.settings import NodeSettings

QUIET = 10.0
"""Seconds without a new image after which a series counts as whole."""


@dataclass(frozen=True)
class Station:
    """What runs together."""

    node: Node
    forwarder: Forwarder

    def stop(self) -> None:
        """Take nothing more, and go no further."""
        self.node.stop()
        self.forwarder.stop()


def open_node(settings: NodeSettings, compute: Compute, quiet: float = QUIET) -> Station | None:
    """The station that settings ask for, None where they name no port.

    Raises:
        WssegError: they cannot be used.
    """
    if not settings.port:
        return None
    settings.check()
    rules = Rules.read(Path(settings.rules))
    inbox = Inbox(home() / "dicom", quiet)
    node = Node(settings, inbox)
    return Station(node, Forwarder(inbox, rules, compute, open_destination(address_of(settings.to))))
