"""Something to do as soon as the server is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


def when_interrupted(action: Callable[[], None]) -> None:
    """Call ``action`` at Ctrl-C or SIGTERM, before the server's own handler of it.

    The server waits for requests that are being answered before it ends its
    application, which would be too late. Outside the main thread, where no
    signal arrives, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if callable(handler):
            signal.signal(number, _before(handler, action))


def _before(handler: Callable[[int, FrameType | None], Any], action: Callable[[], None]) -> Callable[..., None]:
    def both(number: int, frame: FrameType | None) -> None:
        action()
        handler(number, frame)

    return both
