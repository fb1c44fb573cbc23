"""How often a token may be guessed."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict

from wsseg.errors import WssegError

AT_ONCE = 20
"""Wrong tokens that an address may send one after the other."""

EVERY_SECONDS = 5.0
"""Between further ones; whoever knows the token waits no longer once the guesses of others end."""

ADDRESSES = 10_000
"""That are remembered; the one that guessed longest ago is forgotten first."""


class GuessingError(WssegError):
    """Tokens of this client are not looked at for a moment; status 429."""

    status = 429


class Guesses:
    """Counts wrong tokens by client address; right ones and cookies, which nobody can guess, are not counted.

    One number is kept of each address: when all its guesses are made up for
    (a leaky bucket). Clients behind one address, which a proxy that names them
    avoids, share it.
    """

    def __init__(self) -> None:
        self._made_up: OrderedDict[str, float] = OrderedDict()
        self._changing = threading.Lock()

    def check(self, client: str) -> None:
        """Refuse to look at a token.

        Raises:
            GuessingError: the address has guessed too often.
        """
        with self._changing:
            wait = self._made_up.get(_network(client), 0.0) - time.monotonic() - (AT_ONCE - 1) * EVERY_SECONDS
        if wait > 0:
            raise GuessingError(f"too many wrong tokens came from this address, try again in {wait:.0f} seconds")

    def wrong(self, client: str) -> None:
        """Count a wrong token."""
        network = _network(client)
        with self._changing:
            now = time.monotonic()
            self._made_up[network] = max(self._made_up.get(network, now), now) + EVERY_SECONDS
            self._made_up.move_to_end(network)
            if len(self._made_up) > ADDRESSES:
                self._made_up.popitem(last=False)


def _network(client: str) -> str:
    """An address, of IPv6 the 64 bits that one customer has all of."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    return client if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))
