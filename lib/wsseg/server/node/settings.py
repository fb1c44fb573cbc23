"""Where the node listens, to whom, and where results go: told to the application through the environment."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from wsseg.archive.destination import address_of
from wsseg.archive.dimse import PREFIX, TITLE, Tls
from wsseg.errors import WssegError
from wsseg.models.shelf import find_package
from wsseg.server.node.rules import Rules


class NodeSettings(BaseSettings):
    """What the environment says, each under its name after ``WSSEG_DICOM_``.

    Attributes:
        host: address.
        port: TCP port; 0 for no node.
        aet: the node's own title, which callers must know.
        callers: titles of those who may send, separated by commas.
        rules: file of :class:`~wsseg.server.node.rules.Rules`.
        to: an archive's URL, another node's address or a folder, where results go.
        cert, key, ca: files for TLS, see :class:`~wsseg.archive.dimse.Tls`.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    port: int = 0
    aet: str = "WSSEG"
    callers: str = ""
    rules: str = ""
    to: str = ""
    cert: str = ""
    key: str = ""
    ca: str = ""

    def titles(self) -> list[str]:
        """The callers."""
        return [title.strip() for title in self.callers.split(",") if title.strip()]

    def tls(self) -> Tls | None:
        """What is spoken with callers and with a node that results go to; None in the clear."""
        return Tls.of(self.cert, self.key, self.ca)

    def check(self) -> None:
        """Refuse a node that anybody could send to, or that knows not what to do.

        Raises:
            WssegError: callers, rules or the destination are missing or cannot be
                used, a title is none, a rule's model is unknown, TLS lacks a file, or
                the port is taken.
        """
        for name, value in (("callers", self.callers), ("rules", self.rules), ("to", self.to)):
            if not value.strip():
                raise WssegError(f"--dicom-{name}: is needed with --dicom-port")
        for title in (self.aet, *self.titles()):
            if not re.fullmatch(TITLE, title):
                raise WssegError(f'"{title}": a DICOM title has 1 to 16 ASCII characters and no backslash')
        for model in Rules.read(Path(self.rules)).models:
            find_package(model)
        address_of(self.to)
        if tls := self.tls():
            tls.called()
        try:
            socket.create_server((self.host, self.port)).close()
        except OSError as error:
            raise WssegError(f"--dicom-port {self.port}: cannot listen on {self.host} ({error.strerror})") from error

    def to_environment(self) -> None:
        """Put them into the environment, where the application finds them."""
        os.environ |= {f"{PREFIX}{name.upper()}": str(value) for name, value in self.model_dump().items()}
