"""What a browser keeps instead of the token."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict

from itsdangerous import BadSignature, TimestampSigner

SHIFT_SECONDS = 12 * 3600
"""How long a browser stays logged in."""

LOGGED_OUT = 10_000
"""Cookies that are remembered as ended before their time; more than people log out in one shift."""


class Cookies:
    """Cookies that only whoever knows the token can make, and that end: by themselves, or by a logout.

    They outlive a restart of the server. Logouts do not, so a cookie that was
    copied before is good again after one, until its time is over.

    Args:
        token: the server's.
    """

    def __init__(self, token: str) -> None:
        self._signer = TimestampSigner(token, salt="wsseg.cookie", key_derivation="hmac", digest_method=hashlib.sha256)
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._ending = threading.Lock()

    def make(self) -> str:
        """A new one: a number of its own, the time, and a proof that the server wrote both."""
        return self._signer.sign(secrets.token_urlsafe(16)).decode()

    def is_valid(self, cookie: str) -> bool:
        """Whether it was made with the token, is young enough, and nobody has logged out with it."""
        number = self._number(cookie)
        return number is not None and number not in self._ended

    def end(self, cookie: str) -> None:
        """Log out."""
        number = self._number(cookie)
        if number is None:
            return
        with self._ending:
            self._ended[number] = None
            if len(self._ended) > LOGGED_OUT:
                self._ended.popitem(last=False)

    def _number(self, cookie: str) -> str | None:
        try:
            return self._signer.unsign(cookie, max_age=SHIFT_SECONDS).decode()
        except (BadSignature, UnicodeError):
            return None
