"""What routes are given: the application, who asks, and a place for a scan in memory."""

from __future__ import annotations

from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance

from wsseg.server.app import WssegApp

USER = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
ANNOTATOR = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))
ADMIN = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))

AsUser = Annotated[User, USER]
AsAnnotator = Annotated[User, ANNOTATOR]

scans_in_memory = CapacityLimiter(4)
"""Requests beyond wait without a thread, so that however many there are, the server's other threads stay free."""

thumbnails = CapacityLimiter(2)
"""Pictures of scans that are made at a time, beside those that are segmented: they take a moment each."""


async def served() -> WssegApp:
    """The application, which MONAI Label made at the start."""
    return app_instance()


App = Annotated[WssegApp, Depends(served)]


def annotator(named: object, user: User) -> str:
    """Who gives a label: whoever is logged in, else the name that a page or viewer goes by."""
    return str(user.username if settings.MONAI_LABEL_AUTH_ENABLE else named or user.username)
