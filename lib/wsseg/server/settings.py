"""Whom ``wsseg serve`` lets in, and with how much: told to the application through the environment.

Nothing of MONAI Label is imported here, since that reads its settings at once.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

from wsseg.errors import WssegError

TOKEN = "WSSEG_TOKEN"
"""The environment's variable with the token."""

SHORTEST = 16
"""Characters of a token; one that long needs no limit on how often it may be guessed."""

LOCAL_ONLY = "WSSEG_LOCAL_ONLY"
"""The environment's variable that is not empty where neither a token nor a proxy tells who comes."""

MAX_UPLOAD_MB = "WSSEG_MAX_UPLOAD_MB"
"""The environment's variable with the largest upload."""

DEFAULT_MAX_UPLOAD_MB = 2048
"""A CT of the whole body, 512 x 512 x 2000 voxels of 16 bits, is 1 GB; a mask on its grid may come with it."""


def read_token(file: Path | None) -> str:
    """The token of a file, else that of the environment; "" where there is none.

    Raises:
        WssegError: the file cannot be read, or what is given is no token.
    """
    if file is None:
        token = os.environ.get(TOKEN, "")
        if not token:
            return ""
    else:
        try:
            token = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WssegError(f"--token-file {file}: cannot be read ({getattr(error, 'strerror', error)})") from error
    if not re.fullmatch(f"[!-~]{{{SHORTEST},}}", token):
        source = f"--token-file {file}" if file else TOKEN
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


def max_upload_mb() -> int:
    """The largest upload."""
    return int(os.environ.get(MAX_UPLOAD_MB, DEFAULT_MAX_UPLOAD_MB))
