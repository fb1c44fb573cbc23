"""Where weak labels are kept, and the work on archives beside them."""

from __future__ import annotations

import os

from wsseg.files import home, make_folder
from wsseg.labels.database.connection import Database
from wsseg.labels.database.store import LabelStore, address_in
from wsseg.labels.project import Project

URL = "WSSEG_LABELS"
"""The environment's variable that names a database which several servers share."""


def open_store(project: Project) -> LabelStore:
    """A project's labels in the database at ``$WSSEG_LABELS``, else in the one in the work directory."""
    url = os.environ.get(URL)
    return LabelStore(url, project) if url else LabelStore.at(home(), project)


def open_database() -> Database:
    """That database itself, for what else is kept in it."""
    make_folder(home())
    return Database(os.environ.get(URL) or address_in(home()))
