"""Where a server's weak labels are kept."""

from __future__ import annotations

import os

from wsseg.files import home
from wsseg.labels.store import LabelStore

URL = "WSSEG_LABELS"
"""The environment's variable that names a database which several servers share."""


def open_store() -> LabelStore:
    """The database at ``$WSSEG_LABELS``, else the one in the work directory."""
    url = os.environ.get(URL)
    return LabelStore(url) if url else LabelStore.at(home())
