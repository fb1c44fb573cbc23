"""Where weak labels are kept."""

from __future__ import annotations

import os

from wsseg.files import home
from wsseg.labels.project import Project
from wsseg.labels.store import LabelStore

URL = "WSSEG_LABELS"
"""The environment's variable that names a database which several servers share."""


def open_store(project: Project) -> LabelStore:
    """A project's labels in the database at ``$WSSEG_LABELS``, else in the one in the work directory."""
    url = os.environ.get(URL)
    return LabelStore(url, project) if url else LabelStore.at(home(), project)
