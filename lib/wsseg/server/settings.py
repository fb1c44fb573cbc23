"""Whom ``wsseg serve`` lets in, and with how much: told to the application through the environment.

Nothing of MONAI Label is imported here, since that reads its settings at once.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from wsseg.errors import WssegError
from wsseg.server.defaults import DEFAULT_MAX_UPLOAD_MB

PREFIX = "WSSEG_"
"""How names of the environment's variables begin."""

SHORTEST = 16
"""Characters of a token."""


class ServerSettings(BaseSettings):
    """What the environment says, each under its name after ``WSSEG_``.

    Attributes:
        token: that clients must know; "" where none is asked for.
        local_only: whether neither a token nor a proxy tells who comes.
        max_upload_mb: the largest upload.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    token: str = ""
    local_only: bool = False
    max_upload_mb: int = Field(default=DEFAULT_MAX_UPLOAD_MB, ge=1, le=1 << 20)

    def to_environment(self) -> None:
        """Put them into the environment, where :meth:`from_environment` finds them."""
        os.environ |= {
            f"{PREFIX}TOKEN": self.token,
            f"{PREFIX}LOCAL_ONLY": str(self.local_only),
            f"{PREFIX}MAX_UPLOAD_MB": str(self.max_upload_mb),
        }

    @classmethod
    def from_environment(cls) -> ServerSettings:
        """Those of the environment.

        Raises:
            WssegError: a variable holds what it cannot.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            raise WssegError(f"{PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}") from error


def forget_token() -> None:
    """Take the token out of the environment, which trainers and other commands inherit."""
    os.environ.pop(f"{PREFIX}TOKEN", None)


def read_token(file: Path | None) -> str:
    """The token of a file, else that of the environment; "" where there is none.

    Raises:
        WssegError: the file cannot be read, or what is given is no token.
    """
    if file is None:
        token = ServerSettings.from_environment().token
        if not token:
            return ""
    else:
        try:
            token = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WssegError(f"--token-file {file}: cannot be read ({getattr(error, 'strerror', error)})") from error
    if not re.fullmatch(f"[!-~]{{{SHORTEST},}}", token):
        source = f"--token-file {file}" if file else f"{PREFIX}TOKEN"
        raise WssegError(
            f"{source}: a token has at least {SHORTEST} characters and no spaces, `openssl rand -hex 32` makes one"
        )
    return token


def check_host(host: str, guarded: bool) -> None:
    """Refuse to let a network in unless somebody looks who comes."""
    if not guarded and not is_this_machine(host):
        raise WssegError(
            f"--host {host}: others could reach every scan, give a --token-file, "
            "or say --behind-proxy if a proxy checks who they are"
        )


def is_this_machine(host: str) -> bool:
    """Whether a host, an address without brackets or a name, is always the machine that asks."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
